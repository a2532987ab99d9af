// Cosines of large and of small classifiers against R, with R0 and R1.

import { groupColour } from "./colours.js";
import { axes, html, linearScale, logScale, logTicks, node, ranged, shown, whenResized } from "./plot.js";

const LINES = [["large", "large classes", ""], ["small", "small classes", "8 4"]];

export class Curve {
  constructor(place, legend, reading) {
    Object.assign(this, { place, legend, reading, point: null, at: 0 });
    this.svg = node("svg", { "aria-hidden": "true" });
    place.append(this.svg);
    whenResized(place, () => this.draw());
    place.addEventListener("pointermove", (event) => {
      if (!this.x || !this.point) return;
      const ratio = this.x.invert(event.clientX - this.svg.getBoundingClientRect().left);
      const off = this.point.curve.ratio.map((r) => Math.abs(Math.log(r / ratio)));
      this.at = off.indexOf(Math.min(...off));
      this.read();
    });
    place.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move || !this.point) return;
      event.preventDefault();
      this.at = Math.min(Math.max(this.at + move, 0), this.point.curve.ratio.length - 1);
      this.read();
    });
  }

  // Shows a sentence instead of a curve.
  say(sentence) {
    this.point = null;
    this.svg.replaceChildren();
    this.svg.style.height = "0px";
    this.legend.replaceChildren();
    this.reading.textContent = sentence;
  }

  show(point) {
    this.point = point;
    const near = point.curve.ratio.map((r) => Math.abs(Math.log(r / point.ratio)));
    this.at = near.indexOf(Math.min(...near));
    this.draw();
  }

  draw() {
    const width = this.place.clientWidth;
    if (!this.point || !width) return;
    const { curve, ratio, classes } = this.point;
    const height = Math.min(Math.max(Math.round(width * 0.8), 260), 400);
    const etf = -1 / (classes - 1);
    const known = [...curve.large, ...curve.small].filter((v) => v !== null);
    const low = Math.min(-0.1, etf, ...known);
    this.x = ranged(logScale, curve.ratio[0], curve.ratio.at(-1), 52, width - 28);
    this.y = ranged(linearScale, Math.max(-1.05, low - 0.08), 1.06, height - 46, 24);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.style.height = `${height}px`;
    const yTicks = [-1, -0.5, 0, 0.5, 1].filter((v) => v >= this.y.domain[0]);
    const frame = axes({
      x: this.x, y: this.y, xTicks: logTicks(...this.x.domain, 5), yTicks,
      xTitle: "imbalance ratio R (no unit)", yTitle: "cosine of two classifiers", lines: true,
    });
    const parts = [frame];
    const [top, bottom] = [this.y.range1, this.y.range0];
    parts.push(node("path", { d: `M${this.x.range0} ${this.y(etf)}H${this.x.range1}`, stroke: "currentColor", "stroke-width": 1.2, "stroke-dasharray": "1.5 4", fill: "none" }));
    this.marks = [];
    for (const [name, label] of [["collapse", "R₀"], ["vanish", "R₁"]]) {
      const value = curve[name];
      if (typeof value !== "number" || value < this.x.domain[0] || value > this.x.domain[1]) continue;
      const at = this.x(value);
      parts.push(node("path", { d: `M${at} ${top}V${bottom}`, stroke: "currentColor", "stroke-width": 1.4, "stroke-dasharray": name === "collapse" ? "" : "7 4", fill: "none", class: `mark-${name}` }));
      parts.push(node("text", { x: at, y: top - 7, "text-anchor": "middle", class: "label" }, label));
    }
    LINES.forEach(([name, , dash], group) => {
      let d = "";
      curve[name].forEach((value, i) => {
        if (value !== null) d += `${d && curve[name][i - 1] !== null ? "L" : "M"}${this.x(curve.ratio[i]).toFixed(1)} ${this.y(value).toFixed(1)}`;
      });
      parts.push(node("path", { d, stroke: groupColour(group), "stroke-width": 2.6, "stroke-dasharray": dash, fill: "none", class: `line-${name}` }));
    });
    if (ratio >= this.x.domain[0] && ratio <= this.x.domain[1]) {
      const at = this.x(ratio);
      parts.push(node("path", { d: `M${at} ${bottom}l-6 9h12Z`, fill: "currentColor" }));
    }
    this.cursor = node("g", {});
    parts.push(this.cursor);
    this.svg.replaceChildren(...parts);
    this.drawLegend();
    this.read();
  }

  // Names, labels and dashes of the two lines.
  lines() {
    const labels = this.point.curve.lines ?? [];
    return LINES.map(([name, label, dash], group) => [name, labels[group] ?? label, dash]);
  }

  drawLegend() {
    const items = this.lines().map(([, label, dash], group) => {
      const line = node("svg", { width: 30, height: 12 }, node("path", { d: "M1 6h28", stroke: groupColour(group), "stroke-width": 2.6, "stroke-dasharray": dash }));
      return html("span", {}, [line, document.createTextNode(label)]);
    });
    const dots = node("svg", { width: 30, height: 12 }, node("path", { d: "M1 6h28", stroke: "currentColor", "stroke-width": 1.2, "stroke-dasharray": "1.5 4" }));
    const here = node("svg", { width: 14, height: 12 }, node("path", { d: "M7 1l-6 9h12Z", fill: "currentColor" }));
    items.push(html("span", {}, [dots, document.createTextNode("equal angles, −1/(K−1)")]));
    items.push(html("span", {}, [here, document.createTextNode("this point")]));
    this.legend.replaceChildren(...items);
  }

  read() {
    const { curve } = this.point;
    const ratio = curve.ratio[this.at];
    const cosines = this.lines().map(([name, label]) => `${label} ${shown(curve[name][this.at], 3)}`);
    this.reading.textContent = `R = ${shown(ratio)}: ${cosines.join(", ")}`;
    const at = this.x(ratio);
    const parts = [node("path", { d: `M${at} ${this.y.range1}V${this.y.range0}`, stroke: "currentColor", "stroke-width": 0.7, opacity: 0.5 })];
    LINES.forEach(([name], group) => {
      const value = curve[name][this.at];
      if (value !== null) parts.push(node("circle", { cx: at, cy: this.y(value), r: 4, fill: groupColour(group), stroke: "currentColor", "stroke-width": 0.8 }));
    });
    this.cursor.replaceChildren(...parts);
  }

  rows() {
    const { curve } = this.point;
    const plain = (v) => (v === null ? "" : v);
    return [["ratio_R", "cosine_large", "cosine_small"], ...curve.ratio.map((r, i) => [r, plain(curve.large[i]), plain(curve.small[i])])];
  }
}
