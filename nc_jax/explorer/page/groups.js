// Groups of equally large classes: their names, and the legend with colour and marker.

import { groupColour } from "./colours.js";
import { html, marker, node, shown } from "./plot.js";

export function groupName(point, group) {
  const { size } = point.groups[group];
  if (point.groups.length === 2 && point.curve) return group === 0 ? "large" : "small";
  return `size ${shown(size)}`;
}

export function groupLegend(point) {
  const items = point.groups.slice(0, 8).map((group, g) => {
    const chip = node("svg", { width: 16, height: 16 }, marker(g, 8, 8, 5, { fill: groupColour(g), stroke: "currentColor", "stroke-width": 0.6 }));
    const name = point.curve ? `${groupName(point, g)} classes` : groupName(point, g);
    return html("span", {}, [chip, document.createTextNode(`${name} (${group.count})`)]);
  });
  if (point.groups.length > 8) items.push(html("span", {}, `and ${point.groups.length - 8} more sizes`));
  return items;
}
