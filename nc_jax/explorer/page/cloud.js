// The classifiers in their first three principal directions, rotated by mouse or keys.

import { groupColour } from "./colours.js";
import { groupLegend, groupName } from "./groups.js";
import { marker, node, shown, whenResized } from "./plot.js";

export class Cloud {
  constructor(place, legend, reading) {
    Object.assign(this, { place, legend, reading, point: null });
    // Degrees about the vertical axis and above the horizon.
    [this.turn, this.tilt] = [35, 20];
    this.svg = node("svg", { "aria-hidden": "true" });
    place.append(this.svg);
    whenResized(place, () => this.draw());
    let last = null;
    place.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      place.setPointerCapture(event.pointerId);
    });
    place.addEventListener("pointermove", (event) => {
      if (!last) return;
      this.rotate(0.6 * (event.clientX - last[0]), 0.6 * (event.clientY - last[1]));
      last = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) place.addEventListener(end, () => (last = null));
    place.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-6, 0], ArrowRight: [6, 0], ArrowUp: [0, -6], ArrowDown: [0, 6] };
      if (!moves[event.key]) return;
      event.preventDefault();
      this.rotate(...moves[event.key]);
    });
  }

  rotate(turn, tilt) {
    this.turn = (this.turn + turn) % 360;
    this.tilt = Math.min(Math.max(this.tilt + tilt, -90), 90);
    this.draw();
  }

  show(point) {
    this.point = point;
    const share = point.shares.reduce((a, b) => a + b, 0);
    const rank = Math.max(point.gram.length - 1, 1);
    this.reading.textContent = `First three principal directions${rank > 3 ? ` of at most ${point.gram.length}` : ""}; they contain ${shown(100 * share, 3)}\u00a0% of the squared lengths.`;
    this.draw();
  }

  draw() {
    const width = this.place.clientWidth;
    if (!this.point || !width) return;
    this.legend.replaceChildren(...groupLegend(this.point));
    const height = Math.min(width, 420);
    const radius = Math.min(width, height) / 2 - 22;
    const [cx, cy] = [width / 2, height / 2];
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.style.height = `${height}px`;
    const longest = Math.max(...this.point.coordinates.map((c) => Math.hypot(...c)), 1e-30);
    const [a, b] = [(this.turn * Math.PI) / 180, (this.tilt * Math.PI) / 180];
    const project = ([x, y, z]) => {
      const [u, v] = [x * Math.cos(a) + y * Math.sin(a), -x * Math.sin(a) + y * Math.cos(a)];
      return { x: cx + radius * u, y: cy - radius * (z * Math.cos(b) - v * Math.sin(b)), depth: -(v * Math.cos(b) + z * Math.sin(b)) };
    };
    const parts = [node("circle", { cx, cy, r: radius, class: "gridline", fill: "none" })];
    ["1", "2", "3"].forEach((name, i) => {
      const unit = [0, 1, 2].map((j) => (i === j ? 1 : 0));
      const [from, to] = [project(unit.map((v) => -v)), project(unit)];
      parts.push(node("path", { d: `M${from.x} ${from.y}L${to.x} ${to.y}`, class: "gridline", fill: "none", "stroke-width": 1.3 }));
      parts.push(node("text", { x: to.x + 5, y: to.y - 3, class: "label" }, name));
    });
    const small = this.point.coordinates.length > 60 ? 4 : 6.5;
    const drawn = this.point.coordinates.map((c, k) => ({ k, ...project(c.map((v) => v / longest)) }));
    drawn.sort((p, q) => p.depth - q.depth);
    for (const { k, x, y, depth } of drawn) {
      const group = this.point.membership[k];
      const fill = groupColour(group);
      const strength = 0.55 + 0.45 * ((depth + 1) / 2);
      parts.push(node("path", { d: `M${cx} ${cy}L${x} ${y}`, stroke: fill, "stroke-width": 1.6, opacity: strength, fill: "none" }));
      const mark = marker(group, x, y, small * (0.85 + 0.25 * depth), { fill, stroke: "currentColor", "stroke-width": 0.7, opacity: strength, class: "classifier" });
      mark.append(node("title", {}, `class ${k + 1}, ${groupName(this.point, group)}`));
      parts.push(mark);
    }
    this.svg.replaceChildren(...parts);
  }

  rows() {
    const head = ["class", "size", "direction_1", "direction_2", "direction_3"];
    return [head, ...this.point.coordinates.map((c, k) => [k + 1, this.point.groups[this.point.membership[k]].size, ...c])];
  }
}
