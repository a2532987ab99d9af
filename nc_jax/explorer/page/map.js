// The phase map: a canvas of cells under axes, exact curves and a cross.

import { PHASES, PHASE_COLOURS, cellColours, css, sequential } from "./colours.js";
import { axes, html, logScale, logTicks, node, ranged, shown, whenResized } from "./plot.js";

const LOSSES = {
  "cross-entropy": "cross-entropy", "squared-error": "squared error",
  "centred-squared-error": "squared error, centred targets", "label-smoothing": "label smoothing",
};
const CURVES = { collapse: ["R₀, collapse (exact)", ""], vanish: ["R₁, vanishing (exact)", "7 4"] };

export class PhaseMap {
  constructor(place, legend, reading, onPick) {
    Object.assign(this, { place, legend, reading, onPick, frame: null, settings: null });
    this.canvas = html("canvas");
    this.svg = node("svg", { "aria-hidden": "true" });
    place.append(this.canvas, this.svg);
    this.cursor = null;
    whenResized(place, () => this.draw());
    place.addEventListener("pointermove", (event) => this.move(this.at(event)));
    place.addEventListener("pointerleave", () => this.move(this.point));
    place.addEventListener("click", (event) => this.pick(this.at(event)));
    place.addEventListener("keydown", (event) => this.key(event));
  }

  // Shows a solved map; `settings` are those of its request.
  show(frame, settings) {
    const fresh = !this.settings || ["ratio_low", "ratio_high", "strength_low", "strength_high", "surrogate", "classes"]
      .some((name) => this.settings[name] !== settings[name]);
    this.frame = frame;
    this.settings = settings;
    this.paint();
    if (fresh) this.draw();
    else this.drawCurves();
    this.read();
  }

  setPoint(point) {
    this.point = point;
    this.cursor = point;
    this.drawCross();
    this.read();
  }

  paint() {
    const { cells } = this.frame.about;
    const [cosines, phases] = [this.frame.planes.subarray(0, cells * cells), this.frame.planes.subarray(cells * cells)];
    const image = new ImageData(cells, cells);
    const colour = cellColours(this.least());
    for (let row = 0; row < cells; row++) {
      // The lowest budget is sent first and drawn at the bottom.
      const to = (cells - 1 - row) * cells;
      for (let column = 0; column < cells; column++) {
        const from = row * cells + column;
        colour(phases[from], cosines[from], image.data, 4 * (to + column));
      }
    }
    this.canvas.width = cells;
    this.canvas.height = cells;
    this.canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // The subject of the map; also the model if there is room.
  words() {
    const { surrogate, loss, bias, majority, classes } = this.settings;
    const model = surrogate === "layer-peeled" ? "Layer-Peeled Model" : "Unconstrained features";
    const front = `${model}, ${LOSSES[loss]}${bias ? ", bias" : ""}: `;
    return `${this.place.clientWidth > 520 ? front : ""}${majority} of ${classes} classes are large`;
  }

  // The cosine of equal angles.
  least() {
    return -1 / Math.max(Number(this.settings.classes) - 1, 1);
  }

  draw() {
    if (!this.settings) return;
    const width = this.place.clientWidth;
    if (!width) return;
    const height = Math.round(Math.min(Math.max(width * 0.62, 290), 560));
    const s = this.settings;
    this.x = ranged(logScale, Number(s.ratio_low), Number(s.ratio_high), 62, width - 28);
    this.y = ranged(logScale, Number(s.strength_low), Number(s.strength_high), height - 46, 30);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.style.height = `${height}px`;
    Object.assign(this.canvas.style, {
      left: `${this.x.range0}px`, top: `${this.y.range1}px`,
      width: `${this.x.range1 - this.x.range0}px`, height: `${this.y.range0 - this.y.range1}px`,
    });
    const peeled = s.surrogate === "layer-peeled";
    const frame = axes({
      x: this.x, y: this.y,
      xTicks: logTicks(...this.x.domain, width < 480 ? 5 : 9), yTicks: logTicks(...this.y.domain, 7),
      xTitle: "imbalance ratio R = n_{A} / n_{B} (no unit)",
      yTitle: peeled ? "budget E = √(E_{W} E_{H}) (no unit)" : "weight decay λ = λ_{W} = λ_{H} (no unit)",
      title: this.words(),
    });
    this.title = frame.lastChild;
    this.curves = node("g", { fill: "none" });
    this.cross = node("g", { fill: "none" });
    this.svg.replaceChildren(frame, this.curves, this.cross);
    this.drawCurves();
    this.drawCross();
    this.drawLegend();
  }

  drawCurves() {
    if (!this.curves) return;
    this.title.textContent = this.words();
    const parts = [];
    const known = [];
    for (const [name, [, dash]] of Object.entries(CURVES)) {
      const points = this.frame.about.curves[name];
      const path = points.map(([r, e]) => [this.x(10 ** r), this.y(10 ** e)]);
      const d = clipped(path, this.x.range0, this.x.range1, this.y.range1, this.y.range0);
      known.push(points.length > 0);
      if (!d) continue;
      parts.push(node("path", { d, stroke: "#ffffff", "stroke-width": 4.5, "stroke-linejoin": "round" }));
      parts.push(node("path", { d, stroke: "#111111", "stroke-width": 2, "stroke-dasharray": dash, "stroke-linejoin": "round", class: `curve-${name}` }));
    }
    this.curves.replaceChildren(...parts);
    if (String(known) !== String(this.known)) {
      this.known = known;
      this.drawLegend();
    }
  }

  drawCross() {
    if (!this.cross || !this.point) return;
    const parts = [];
    const mark = (point, attributes) => {
      const [x, y] = [this.x(point.ratio), this.y(point.strength)];
      if (!(x >= this.x.range0 - 1 && x <= this.x.range1 + 1 && y <= this.y.range0 + 1 && y >= this.y.range1 - 1)) return;
      const d = `M${x - 11} ${y}h7M${x + 4} ${y}h7M${x} ${y - 11}v7M${x} ${y + 4}v7`;
      parts.push(node("path", { d, stroke: "#ffffff", "stroke-width": 5, "stroke-linecap": "round" }));
      parts.push(node("path", { d, stroke: "#111111", "stroke-width": 2, "stroke-linecap": "round", ...attributes }));
    };
    if (this.cursor && this.cursor !== this.point) mark(this.cursor, { "stroke-dasharray": "2 3" });
    mark(this.point, {});
    parts.push(node("circle", { cx: this.x(this.point.ratio), cy: this.y(this.point.strength), r: 7, stroke: "#111111", "stroke-width": 1.2 }));
    this.cross.replaceChildren(...parts);
  }

  drawLegend() {
    const bar = node("svg", { width: 96, height: 14, role: "img", "aria-label": "colours of the cosine" });
    for (let i = 0; i < 48; i++) {
      bar.append(node("rect", { x: 2 * i, y: 0, width: 2.2, height: 14, fill: css(sequential(i / 47)) }));
    }
    const least = shown(this.least(), 2);
    const items = [html("span", {}, [document.createTextNode(`separated, cosine of small classes: ${least}`), bar, document.createTextNode("1")])];
    for (const code of [1, 2, 3]) {
      const chip = node("svg", { width: 14, height: 14 }, node("rect", { width: 14, height: 14, rx: 2, fill: PHASE_COLOURS[code], stroke: "currentColor", "stroke-width": 0.5 }));
      items.push(html("span", {}, [chip, document.createTextNode(PHASES[code])]));
    }
    Object.values(CURVES).forEach(([label, dash], i) => {
      if (!this.known?.[i]) return;
      const line = node("svg", { width: 26, height: 14 }, node("path", { d: "M1 7h24", stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": dash }));
      items.push(html("span", {}, [line, document.createTextNode(label)]));
    });
    this.legend.replaceChildren(...items);
  }

  at(event) {
    if (!this.x) return null;
    const box = this.svg.getBoundingClientRect();
    const clamp = (v, [low, high]) => Math.min(Math.max(v, low), high);
    return {
      ratio: clamp(this.x.invert(event.clientX - box.left), this.x.domain),
      strength: clamp(this.y.invert(event.clientY - box.top), this.y.domain),
    };
  }

  move(point) {
    if (!point) return;
    this.cursor = point;
    this.read();
  }

  pick(point) {
    if (!point) return;
    this.setPoint(point);
    this.onPick({ ratio: rounded(point.ratio), strength: rounded(point.strength) });
  }

  key(event) {
    const step = event.shiftKey ? 10 : 2;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.pick(this.cursor);
    } else if (moves[event.key] && this.cursor && this.x) {
      event.preventDefault();
      const [dx, dy] = moves[event.key];
      const clamp = (v, [low, high]) => Math.min(Math.max(v, low), high);
      this.move({
        ratio: clamp(this.x.invert(this.x(this.cursor.ratio) + dx), this.x.domain),
        strength: clamp(this.y.invert(this.y(this.cursor.strength) + dy), this.y.domain),
      });
      this.drawCross();
    }
  }

  // The cell at the cursor, as text.
  read() {
    if (!this.cursor || !this.frame || !this.x) return;
    const { cells } = this.frame.about;
    const column = Math.min(Math.floor(((this.x(this.cursor.ratio) - this.x.range0) / (this.x.range1 - this.x.range0)) * cells), cells - 1);
    const row = Math.min(Math.floor(((this.y(this.cursor.strength) - this.y.range0) / (this.y.range1 - this.y.range0)) * cells), cells - 1);
    const name = this.settings.surrogate === "layer-peeled" ? "E" : "λ";
    const where = `R = ${shown(this.cursor.ratio)}, ${name} = ${shown(this.cursor.strength)}`;
    if (column < 0 || row < 0 || !(column >= 0)) {
      this.reading.textContent = `${where}: outside the map`;
      return;
    }
    const cell = row * cells + column;
    const phase = PHASES[this.frame.planes[cells * cells + cell]];
    this.reading.textContent = `${where}: ${phase}; cosine of small classes ${shown(this.frame.planes[cell], 3)}`;
  }

  rows() {
    const { cells } = this.frame.about;
    const symbol = this.settings.surrogate === "layer-peeled" ? "budget_E" : "weight_decay_lambda";
    const rows = [["ratio_R", symbol, "phase", "minority_cosine"]];
    for (let cell = 0; cell < cells * cells; cell++) {
      const share = (index) => (index + 0.5) / cells;
      const [x, y] = [this.x, this.y];
      const ratio = x.invert(x.range0 + share(cell % cells) * (x.range1 - x.range0));
      const strength = y.invert(y.range0 + share(Math.floor(cell / cells)) * (y.range1 - y.range0));
      const cosine = this.frame.planes[cell];
      rows.push([ratio, strength, PHASES[this.frame.planes[cells * cells + cell]], Number.isNaN(cosine) ? "" : cosine]);
    }
    return rows;
  }
}

const rounded = (value) => Number(value.toPrecision(4));

// A path of the parts of a line inside a rectangle.
function clipped(points, left, right, top, bottom) {
  const inside = ([x, y]) => x >= left - 1 && x <= right + 1 && y >= top - 1 && y <= bottom + 1;
  let d = "";
  points.forEach((point, i) => {
    const near = inside(point) || (points[i - 1] && inside(points[i - 1])) || (points[i + 1] && inside(points[i + 1]));
    if (!near) return;
    const [x, y] = [Math.min(Math.max(point[0], left), right), Math.min(Math.max(point[1], top), bottom)];
    const joined = d && i > 0 && (inside(points[i - 1]) || inside(point));
    d += `${joined ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return d;
}
