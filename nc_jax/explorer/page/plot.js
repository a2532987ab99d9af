// What all pictures share: SVG elements, scales, ticks, axes.

const SVG = "http://www.w3.org/2000/svg";

export function node(name, attributes = {}, children = []) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[children].flat());
  return made;
}

export function html(name, attributes = {}, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[children].flat());
  return made;
}

export function table(head, rows) {
  const cell = (kind) => (text, column) => html(kind, column ? { class: "n" } : {}, String(text));
  return html("table", {}, [
    html("thead", {}, html("tr", {}, head.map(cell("th")))),
    html("tbody", {}, rows.map((row) => html("tr", {}, row.map(cell("td"))))),
  ]);
}

// A scale maps values to pixels and back.
export function logScale(low, high, from, to) {
  const [a, b] = [Math.log10(low), Math.log10(high)];
  const scale = (value) => from + ((Math.log10(value) - a) / (b - a)) * (to - from);
  scale.invert = (pixel) => 10 ** (a + ((pixel - from) / (to - from)) * (b - a));
  scale.domain = [low, high];
  return scale;
}

export function linearScale(low, high, from, to) {
  const scale = (value) => from + ((value - low) / (high - low)) * (to - from);
  scale.invert = (pixel) => low + ((pixel - from) / (to - from)) * (high - low);
  scale.domain = [low, high];
  return scale;
}

// Powers of ten, and 2 and 5 times these if there is room.
export function logTicks(low, high, most = 7) {
  for (const steps of [[1, 2, 5], [1]]) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const step of steps) {
        const value = Number(`${step}e${power}`);
        if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
      }
    }
    if (ticks.length <= most || steps.length === 1) {
      const every = Math.ceil(ticks.length / most);
      return ticks.length ? ticks.filter((_, i) => i % every === 0) : [low, high];
    }
  }
  return [];
}

const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

// A number as people write it: 0.25, 1,000, 3·10⁻⁵.
export function shown(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "does not exist";
  if (value === "infinite") return "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e6) {
    return Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 8 }).replace("-", "−");
  }
  const [factor, power] = value.toExponential(Math.max(digits - 2, 0)).split("e");
  const raised = [...String(Number(power))].map((c) => SUPERSCRIPT[c]).join("");
  const front = Number(factor);
  return `${front === 1 ? "" : `${front}·`}10${raised}`.replace("-", "−");
}

// The parts of a text such as "n_{A}": one function makes the subscripts, another the rest.
export function lowered(text, low, after = (t) => t) {
  return text.split(/_\{([^}]*)\}/).map((part, i) => (i === 0 ? part : i % 2 ? low(part) : after(part)));
}

const formula = (text) => lowered(text, (t) => node("tspan", { dy: 3, style: "font-size:9px" }, t), (t) => node("tspan", { dy: -3 }, t));

// The frame of a picture: axes with ticks, titles, and optional grid lines.
export function axes({ x, y, xTicks, yTicks, xTitle, yTitle, title, lines = false, format = shown }) {
  const [left, right] = [x.range0, x.range1];
  const [bottom, top] = [y.range0, y.range1];
  const group = node("g", { class: "axis" });
  for (const value of xTicks) {
    const at = x(value);
    if (lines) group.append(node("line", { class: "gridline", x1: at, x2: at, y1: top, y2: bottom }));
    group.append(node("line", { x1: at, x2: at, y1: bottom, y2: bottom + 5 }));
    group.append(node("text", { x: at, y: bottom + 18, "text-anchor": "middle" }, format(value)));
  }
  for (const value of yTicks) {
    const at = y(value);
    if (lines) group.append(node("line", { class: "gridline", x1: left, x2: right, y1: at, y2: at }));
    group.append(node("line", { x1: left - 5, x2: left, y1: at, y2: at }));
    group.append(node("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, format(value)));
  }
  group.append(node("path", { d: `M${left} ${top}V${bottom}H${right}V${top}Z`, fill: "none" }));
  const middle = (left + right) / 2;
  group.append(node("text", { x: middle, y: bottom + 37, "text-anchor": "middle" }, formula(xTitle)));
  const side = node("text", { "text-anchor": "middle", transform: `translate(14 ${(top + bottom) / 2}) rotate(-90)` }, formula(yTitle));
  group.append(side);
  if (title) group.append(node("text", { x: middle, y: top - 9, "text-anchor": "middle", "font-weight": 600 }, title));
  return group;
}

// A scale that knows its ends in pixels.
export function ranged(make, low, high, from, to) {
  return Object.assign(make(low, high, from, to), { range0: from, range1: to });
}

// Draws now and whenever the width of the place changes.
export function whenResized(place, draw) {
  let width = 0;
  new ResizeObserver(() => {
    const now = place.clientWidth;
    if (now > 0 && now !== width) {
      width = now;
      draw();
    }
  }).observe(place);
}

// Markers that differ in shape, for groups of classes; of radius r about (x, y).
export function marker(kind, x, y, r, attributes) {
  if (kind % 4 === 0) return node("circle", { cx: x, cy: y, r, ...attributes });
  const corners = {
    1: [[0, -1.25], [1.1, 0.85], [-1.1, 0.85]],
    2: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    3: [[0, -1.3], [1.1, 0], [0, 1.3], [-1.1, 0]],
  }[kind % 4];
  const points = corners.map(([a, b]) => `${x + a * r},${y + b * r}`).join(" ");
  return node("polygon", { points, ...attributes });
}
