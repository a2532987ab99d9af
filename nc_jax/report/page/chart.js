// Curves over a logarithmic axis as SVG, with a cursor that shows their values.
const MARGIN = { left: 58, right: 14, top: 30, bottom: 44 };

// Powers of ten; also 2 and 5 times these if they are few, and all multiples within one decade.
function logTicks(low, high) {
  const ticks = [];
  const wide = Math.log10(high / low) > 2.5;
  const factors = wide ? [1] : high / low > 10 ? [1, 2, 5] : [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const every = Math.max(1, Math.round(Math.log10(high / low) / 8));
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    if (wide && power % every) continue;
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

function tickText(value) {
  const size = Math.abs(value);
  if (size >= 1e5 || (size > 0 && size < 1e-3)) return value.toExponential(0).replace("e+", "e");
  return shown(value, value >= 1000 ? "count" : "short");
}

function keyOf(one, mark) {
  const stroke = `var(--series-${one.color})`;
  const key = make("svg:svg", { viewBox: "0 0 28 12", "aria-hidden": "true" });
  if (mark) key.append(make("svg:path", { d: "M14 0V12", stroke, "stroke-width": 2, "stroke-dasharray": "4 2" }));
  else if (one.style !== "dots") key.append(make("svg:path", { d: "M0 6H28", stroke, "stroke-width": 2.5 }));
  if (!mark && one.style !== "line") key.append(make("svg:circle", { cx: 14, cy: 6, r: 4, fill: stroke }));
  return key;
}

function chart(figure, { x_label, y_label, series, marks, log_y }) {
  const svg = figure.querySelector("svg");
  const readout = figure.querySelector(".readout");
  const across = series.flatMap((one) => one.points.map((point) => point[0])).concat(marks.map((mark) => mark.x));
  const up = series.flatMap((one) => one.points.map((point) => point[1])).filter((value) => value !== null);
  const [low, high] = [Math.min(...across) / 1.05, Math.max(...across) * 1.05];
  const [least, most] = log_y ? [Math.min(...up) / 1.2, Math.max(...up) * 1.2] : [-1.05, 1.05];
  const stops = [...new Set(series.flatMap((one) => one.points.map((point) => point[0])))].sort((a, b) => a - b);
  let place = -1;
  let x, y, size;

  const legend = figure.querySelector(".legend");
  for (const [list, isMark] of [[series, false], [marks, true]]) {
    for (const one of list) {
      const item = make("li");
      item.append(keyOf(one, isMark), one.name);
      legend.append(item);
    }
  }

  function path(points) {
    let pen = "M";
    return points.map(([a, b]) => {
      if (b === null) { pen = "M"; return ""; }
      const step = `${pen}${x(a).toFixed(1)} ${y(b).toFixed(1)}`;
      pen = "L";
      return step;
    }).join("");
  }

  function axes() {
    const [bottom, right] = [size.height - MARGIN.bottom, size.width - MARGIN.right];
    for (const tick of log_y ? logTicks(least, most) : [-1, -0.5, 0, 0.5, 1]) {
      svg.append(make("svg:path", { class: "rule", d: `M${MARGIN.left} ${y(tick)}H${right}` }));
      svg.append(make("svg:text", { x: MARGIN.left - 6, y: y(tick) + 4, "text-anchor": "end" }, tickText(tick)));
    }
    for (const tick of logTicks(low, high)) {
      svg.append(make("svg:path", { class: "frame", d: `M${x(tick)} ${bottom}v5` }));
      svg.append(make("svg:text", { x: x(tick), y: bottom + 18, "text-anchor": "middle" }, tickText(tick)));
    }
    svg.append(make("svg:path", { class: "frame", d: `M${MARGIN.left} ${MARGIN.top}V${bottom}H${right}` }));
    svg.append(make("svg:text", { x: (MARGIN.left + right) / 2, y: size.height - 6, "text-anchor": "middle" }, x_label));
    svg.append(make("svg:text", { x: 4, y: 16 }, y_label));
  }

  function draw() {
    size = svg.getBoundingClientRect();
    const width = size.width - MARGIN.left - MARGIN.right;
    const height = size.height - MARGIN.top - MARGIN.bottom;
    x = (value) => MARGIN.left + width * Math.log(value / low) / Math.log(high / low);
    y = (value) => MARGIN.top + height * (log_y
      ? Math.log(most / value) / Math.log(most / least)
      : (most - value) / (most - least));
    svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    svg.replaceChildren();
    axes();
    for (const mark of marks) {
      svg.append(make("svg:path", {
        d: `M${x(mark.x)} ${MARGIN.top}V${size.height - MARGIN.bottom}`,
        stroke: `var(--series-${mark.color})`, "stroke-width": 2, "stroke-dasharray": "6 3",
      }));
    }
    for (const one of series) {
      const stroke = `var(--series-${one.color})`;
      if (one.style !== "dots") {
        svg.append(make("svg:path", { d: path(one.points), fill: "none", stroke, "stroke-width": 2.5, "stroke-linejoin": "round" }));
      }
      if (one.style === "line") continue;
      for (const [a, b] of one.points) {
        if (b !== null) svg.append(make("svg:circle", { cx: x(a), cy: y(b), r: one.style === "dots" ? 6 : 3.5, fill: stroke }));
      }
    }
    if (place >= 0) {
      svg.append(make("svg:path", { class: "cursor", d: `M${x(stops[place])} ${MARGIN.top}V${size.height - MARGIN.bottom}` }));
    }
  }

  // The point of a series that is nearest to a position on the axis.
  function nearest(points, at) {
    const far = (point) => Math.abs(Math.log(point[0] / at));
    return points.reduce((best, point) => (far(point) < far(best) ? point : best));
  }

  function read(next) {
    place = Math.min(Math.max(next, 0), stops.length - 1);
    const at = stops[place];
    const values = series.filter((one) => one.points.length).map((one) => [one.name, nearest(one.points, at)])
      .filter(([, point]) => Math.abs(Math.log(point[0] / at)) < 0.02)
      .map(([name, point]) => `${name}: ${point[1] === null ? "none" : shown(point[1], log_y ? "short" : "fixed")}`);
    readout.textContent = `${x_label} ${tickText(Number(at.toPrecision(4)))}. ${values.join("; ")}.`;
    draw();
  }

  function point(event) {
    const share = (event.clientX - svg.getBoundingClientRect().left - MARGIN.left) / (size.width - MARGIN.left - MARGIN.right);
    const at = low * (high / low) ** share;
    const far = stops.map((stop) => Math.abs(Math.log(stop / at)));
    read(far.indexOf(Math.min(...far)));
  }

  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    read(place < 0 ? 0 : place + step);
  });
  new ResizeObserver(draw).observe(svg);
  draw();
}

for (const figure of document.querySelectorAll("[data-chart]")) chart(figure, data.charts[figure.dataset.chart]);
