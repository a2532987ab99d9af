// Heat maps of cosines on canvas; they share one cursor, whose cell is described below them.
const LABELLED = 40;
const NONE = -32768;
const FONT = "12px system-ui, sans-serif";

function decoded(text, size) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const upper = new DataView(bytes.buffer);
  const matrix = new Float32Array(size * size);
  let place = 0;
  for (let row = 0; row < size; row += 1) {
    for (let column = row; column < size; column += 1, place += 2) {
      const value = upper.getInt16(place, true);
      matrix[row * size + column] = matrix[column * size + row] = value === NONE ? NaN : value / 1000;
    }
  }
  return matrix;
}

function channels(hex) {
  return [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
}

// The colours of −1, 0 and 1, interpolated linearly.
function painter() {
  const [low, middle, high, none] = ["low", "middle", "high", "none"].map((name) => channels(color(`--heat-${name}`)));
  return (value) => {
    if (Number.isNaN(value)) return none;
    const end = value < 0 ? low : high;
    return middle.map((channel, place) => channel + Math.min(Math.abs(value), 1) * (end[place] - channel));
  };
}

// The beginning of a text that fits into a width.
function shortened(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let length = text.length;
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) length -= 1;
  return `${text.slice(0, length)}…`;
}

function image(width, height, valueAt) {
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const paint = painter();
  for (let place = 0; place < width * height; place += 1) pixels.data.set([...paint(valueAt(place)), 255], 4 * place);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function heatMap({ rows, notes, orders, panels }) {
  const section = document.getElementById("heat");
  const readout = section.querySelector(".readout");
  const select = document.getElementById("heat-order");
  const bar = section.querySelector(".bar");
  let cursor = null;

  orders.forEach((order, place) => select.append(make("option", { value: place }, order.label)));
  const drawn = panels.map((panel) => {
    const figure = make("figure");
    const canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": `${panel.title}. The arrow keys move from cell to cell.` });
    figure.append(make("figcaption", {}, panel.title), canvas);
    section.querySelector(".panels").append(figure);
    return { panel, canvas };
  });

  const order = () => orders[select.value];

  function members(cell) {
    const { rows: sorted, starts } = order();
    return sorted.slice(starts[cell], starts[cell + 1] ?? sorted.length);
  }

  function cellName(cell) {
    const own = members(cell);
    const full = (row) => `${rows[row]} (${notes[row]})`;
    return own.length === 1 ? full(own[0]) : `${own.length} from ${full(own[0])} to ${full(own.at(-1))}`;
  }

  function load() {
    const size = order().starts.length;
    for (const one of drawn) {
      one.matrix = decoded(one.panel.matrices[select.value], size);
      one.image = image(size, size, (place) => one.matrix[place]);
    }
    paintBar();
    drawn.forEach(draw);
  }

  function paintBar() {
    bar.getContext("2d").drawImage(image(256, 1, (place) => 2 * place / 255 - 1), 0, 0);
  }

  // Space for names at the left and the top if there are few cells.
  function layout(canvas) {
    const width = canvas.clientWidth;
    const size = order().starts.length;
    const names = size <= LABELLED && width / size > 11;
    const context = canvas.getContext("2d");
    context.font = FONT;
    const widest = Math.max(...order().starts.map((_, cell) => context.measureText(rows[members(cell)[0]]).width));
    const margin = names ? Math.min(widest + 8, width * 0.24) : 0;
    return { width, size, names, margin, cell: (width - margin) / size };
  }

  function draw({ canvas, image: picture }) {
    const { width, size, names, margin, cell } = layout(canvas);
    const sharp = devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(width * sharp);
    const context = canvas.getContext("2d");
    context.scale(sharp, sharp);
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, margin, margin, width - margin, width - margin);
    if (names) writeNames(context, size, margin, cell);
    if (cursor) {
      context.strokeStyle = color("--link");
      context.lineWidth = 2;
      const side = Math.max(cell, 4);
      for (const [row, column] of [cursor, [...cursor].reverse()]) {
        context.strokeRect(margin + column * cell, margin + row * cell, side, side);
      }
    }
  }

  function writeNames(context, size, margin, cell) {
    context.fillStyle = color("--ink");
    context.font = FONT;
    context.textBaseline = "middle";
    for (let place = 0; place < size; place += 1) {
      const name = shortened(context, rows[members(place)[0]], margin - 6);
      const at = margin + (place + 0.5) * cell;
      context.textAlign = "right";
      context.fillText(name, margin - 4, at);
      context.save();
      context.translate(at, margin - 4);
      context.rotate(-Math.PI / 2);
      context.textAlign = "left";
      context.fillText(name, 0, 0);
      context.restore();
    }
  }

  function read(row, column) {
    const size = order().starts.length;
    cursor = [row, column].map((place) => Math.min(Math.max(place, 0), size - 1));
    const place = cursor[0] * size + cursor[1];
    const values = drawn.map(({ panel, matrix }) =>
      `${panel.title}: ${Number.isNaN(matrix[place]) ? "none" : shown(matrix[place], "fixed")}`);
    readout.textContent = `${cellName(cursor[0])} and ${cellName(cursor[1])}. ${values.join("; ")}.`;
    drawn.forEach(draw);
  }

  for (const { canvas } of drawn) {
    const point = (event) => {
      const { margin, cell } = layout(canvas);
      const [column, row] = [event.offsetX, event.offsetY].map((at) => Math.floor((at - margin) / cell));
      if (row >= 0 && column >= 0) read(row, column);
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      if (cursor) read(cursor[0] + step[0], cursor[1] + step[1]);
      else read(0, 0);
    });
    new ResizeObserver(() => drawn.forEach(draw)).observe(canvas);
  }
  select.addEventListener("change", () => { cursor = null; load(); });
  whenColorsChange(load);
  load();
}

heatMap(data.heat);
