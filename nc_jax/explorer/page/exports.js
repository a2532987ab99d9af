// Downloads of pictures and tables: SVG, PNG and CSV, made in the page itself.

import { html, node } from "./plot.js";

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "font-weight", "opacity", "color", "text-anchor"];
const PNG_SCALE = 2;

// A copy of a picture that contains its styles and its cells.
function standalone(picture, legend) {
  const { svg, canvas, place } = picture;
  const copy = svg.cloneNode(true);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const originals = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((element, i) => {
    const style = getComputedStyle(originals[i]);
    element.setAttribute("style", STYLES.map((name) => `${name}:${style.getPropertyValue(name)}`).join(";"));
    element.removeAttribute("class");
  });
  copy.removeAttribute("aria-hidden");
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  if (canvas) {
    const px = (name) => parseFloat(canvas.style[name]);
    copy.prepend(node("image", {
      x: px("left"), y: px("top"), width: px("width"), height: px("height"), preserveAspectRatio: "none",
      style: "image-rendering:pixelated", href: canvas.toDataURL(),
    }));
  }
  const extra = legend ? legendRows(legend, width) : [];
  const total = height + 20 * extra.length + 4;
  extra.forEach((row, i) => {
    row.setAttribute("transform", `translate(12 ${height + 20 * i})`);
    copy.append(row);
  });
  copy.prepend(node("rect", { width, height: total, fill: getComputedStyle(place.closest(".card")).backgroundColor }));
  for (const [key, value] of Object.entries({ width, height: total, viewBox: `0 0 ${width} ${total}` })) copy.setAttribute(key, value);
  return { text: new XMLSerializer().serializeToString(copy), width, height: total };
}

// The legend of a picture, one line for each item.
function legendRows(legend, width) {
  const ink = getComputedStyle(legend).color;
  return [...legend.querySelectorAll("span")].map((item) => {
    const row = node("g", { style: `color:${ink}` });
    let x = 0;
    for (const child of item.childNodes) {
      if (child.nodeType === Node.TEXT_NODE) {
        const font = getComputedStyle(item).fontFamily.replaceAll('"', "'");
        row.append(node("text", { x, y: 12, fill: ink, "font-size": 12, "font-family": font }, child.data));
        x += 6.6 * child.data.length + 6;
      } else {
        const chip = node("g", { transform: `translate(${x} 0)`, style: `color:${ink};fill:none` });
        chip.append(...[...child.childNodes].map((part) => part.cloneNode(true)));
        row.append(chip);
        x += Number(child.getAttribute("width")) + 8;
      }
    }
    return row;
  }).filter(() => width > 0);
}

function save(blob, name) {
  const link = html("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function png({ text, width, height }) {
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await picture.decode();
  const canvas = html("canvas", { width: PNG_SCALE * width, height: PNG_SCALE * height });
  const context = canvas.getContext("2d");
  context.scale(PNG_SCALE, PNG_SCALE);
  context.drawImage(picture, 0, 0, width, height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

const csv = (rows) => `${rows.map((row) => row.join(",")).join("\n")}\n`;

// Buttons PNG, SVG and CSV for a picture.
export function addExports(place, picture, name, legend) {
  const makers = {
    PNG: async () => save(await png(standalone(picture, legend)), `${name}.png`),
    SVG: async () => save(new Blob([standalone(picture, legend).text], { type: "image/svg+xml" }), `${name}.svg`),
    CSV: async () => save(new Blob([csv(picture.rows())], { type: "text/csv" }), `${name}.csv`),
  };
  for (const [kind, make] of Object.entries(makers)) {
    const button = html("button", { type: "button", "aria-label": `Download ${name} as ${kind}` }, kind);
    button.addEventListener("click", make);
    place.append(button);
  }
}
