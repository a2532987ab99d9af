// The heat map of inner products or cosines of all pairs of classifiers, with a colour bar.

import { css, diverging } from "./colours.js";
import { groupName } from "./groups.js";
import { html, node, shown, whenResized } from "./plot.js";

// Lines between groups of classes are drawn for fewer than so many groups.
const MOST_LINES = 20;

export class GramMap {
  constructor(place, reading, kind) {
    Object.assign(this, { place, reading, kind, point: null, at: [0, 0] });
    this.canvas = html("canvas");
    this.svg = node("svg", { "aria-hidden": "true" });
    place.append(this.canvas, this.svg);
    whenResized(place, () => this.draw());
    kind.addEventListener("change", () => this.draw());
    place.addEventListener("pointermove", (event) => this.hover(event));
    place.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (!moves[event.key] || !this.point) return;
      event.preventDefault();
      const size = this.point.gram.length;
      this.at = this.at.map((k, i) => Math.min(Math.max(k + moves[event.key][i], 0), size - 1));
      this.read();
    });
  }

  show(point) {
    this.point = point;
    this.at = this.at.map((k) => Math.min(k, point.gram.length - 1));
    this.draw();
  }

  // The inner products, or the cosines if these are selected; NaN if a classifier is zero.
  matrix() {
    const gram = this.point.gram;
    if (this.kind.value === "gram") return gram;
    const length = gram.map((row, k) => Math.sqrt(row[k]));
    return gram.map((row, k) => row.map((value, l) => (length[k] * length[l] > 0 ? value / (length[k] * length[l]) : NaN)));
  }

  draw() {
    const width = this.place.clientWidth;
    if (!this.point || !width) return;
    const matrix = this.matrix();
    const size = matrix.length;
    const left = 34;
    const side = Math.min(width - left - 74, 380);
    const [top, height] = [12, side + 56];
    this.box = { left, top, side };
    let largest = this.kind.value === "cosine" ? 1 : 0;
    if (this.kind.value === "gram") for (const row of matrix) for (const value of row) largest = Math.max(largest, Math.abs(value));
    largest = largest || 1;
    const image = new ImageData(size, size);
    matrix.forEach((row, k) => row.forEach((value, l) => {
      const rgb = Number.isNaN(value) ? [141, 148, 155] : diverging(0.5 + value / (2 * largest));
      image.data.set([...rgb, 255], 4 * (k * size + l));
    }));
    this.canvas.width = this.canvas.height = size;
    this.canvas.getContext("2d").putImageData(image, 0, 0);
    Object.assign(this.canvas.style, { left: `${left}px`, top: `${top}px`, width: `${side}px`, height: `${side}px` });
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.style.height = `${height}px`;
    const frame = node("g", { class: "axis" });
    const cell = side / size;
    frame.append(node("rect", { x: left, y: top, width: side, height: side, fill: "none", stroke: "currentColor" }));
    const { membership } = this.point;
    const between = membership.flatMap((group, k) => (k > 0 && group !== membership[k - 1] ? [k] : []));
    // Many lines would cover the colours.
    for (const k of between.length < MOST_LINES ? between : []) {
      frame.append(node("path", { d: `M${left} ${top + k * cell}h${side}M${left + k * cell} ${top}v${side}`, fill: "none", style: "stroke:#444;stroke-width:0.8" }));
    }
    for (const k of labelled(size)) {
      const middle = (k - 0.5) * cell;
      frame.append(node("text", { x: left - 6, y: top + middle + 4, "text-anchor": "end" }, String(k)));
      frame.append(node("text", { x: left + middle, y: top + side + 16, "text-anchor": "middle" }, String(k)));
    }
    frame.append(node("text", { x: left + side / 2, y: top + side + 36, "text-anchor": "middle" }, "class"));
    this.svg.replaceChildren(frame, this.bar(left + side + 16, top, side, largest));
    this.marked = node("rect", { fill: "none", stroke: "#111111", "stroke-width": 2, width: cell, height: cell });
    this.svg.append(this.marked);
    this.read();
  }

  bar(x, top, side, largest) {
    const group = node("g", { class: "axis" });
    for (let i = 0; i < 60; i++) {
      group.append(node("rect", { x, y: top + side - ((i + 1) * side) / 60, width: 13, height: side / 60 + 0.6, fill: css(diverging(i / 59)) }));
    }
    for (const share of [-1, 0, 1]) {
      group.append(node("text", { x: x + 18, y: top + (side * (1 - share)) / 2 + (share > 0 ? 9 : share < 0 ? 0 : 4) }, shown(share * largest, 2)));
    }
    return group;
  }

  hover(event) {
    if (!this.box) return;
    const box = this.svg.getBoundingClientRect();
    const size = this.point.gram.length;
    const index = (pixel, from) => Math.floor(((pixel - from) / this.box.side) * size);
    const at = [index(event.clientY - box.top, this.box.top), index(event.clientX - box.left, this.box.left)];
    if (at.every((k) => k >= 0 && k < size)) {
      this.at = at;
      this.read();
    }
  }

  read() {
    const [k, l] = this.at;
    const gram = this.point.gram;
    const norm = Math.sqrt(gram[k][k] * gram[l][l]);
    const cosine = norm > 0 ? shown(Math.min(gram[k][l] / norm, 1), 4) : "does not exist";
    const name = (c) => `${c + 1} (${groupName(this.point, this.point.membership[c])})`;
    this.reading.textContent = `Classes ${name(k)} and ${name(l)}: inner product ${shown(gram[k][l])}, cosine ${cosine}`;
    const cell = this.box.side / gram.length;
    this.marked.setAttribute("x", this.box.left + l * cell);
    this.marked.setAttribute("y", this.box.top + k * cell);
  }

  rows() {
    const matrix = this.matrix();
    const names = matrix.map((_, k) => `class_${k + 1}`);
    return [["class", ...names], ...matrix.map((row, k) => [names[k], ...row.map((v) => (Number.isNaN(v) ? "" : v))])];
  }
}

// The classes, counted from 1, that have a label: the first and the multiples of a round number.
// Numbers of three digits need more room.
function labelled(size) {
  const most = size < 100 ? 10 : 5;
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((number) => size <= most * number);
  const multiples = Array.from({ length: Math.floor(size / step) }, (_, place) => (place + 1) * step);
  return step === 1 ? multiples : [1, ...multiples];
}
