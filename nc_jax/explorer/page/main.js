// Connects the controls, the pictures and the server.

import { FieldError, Latest, ask, streamMap } from "./api.js";
import { Cloud } from "./cloud.js";
import { PHASES, PHASE_COLOURS, isDark } from "./colours.js";
import { Controls, hush, say, seconds } from "./controls.js";
import { Curve } from "./curve.js";
import { addExports } from "./exports.js";
import { bindFeatures, colourReport } from "./features.js";
import { GramMap } from "./gram.js";
import { groupName } from "./groups.js";
import { PhaseMap } from "./map.js";
import { html, shown, table } from "./plot.js";

const get = (id) => document.getElementById(id);
const view = get("view");
const status = get("map-status");
const form = get("controls");
const shownPoints = {};

const map = new PhaseMap(get("map"), get("map-legend"), get("map-reading"), (point) => {
  controls.setPoint(point);
  askPoint();
});
const gram = new GramMap(get("gram"), get("gram-reading"), get("gram-kind"));
const cloud = new Cloud(get("cloud"), get("cloud-legend"), get("cloud-reading"));
const curve = new Curve(get("curve"), get("curve-legend"), get("curve-reading"));
const pictures = { map, gram, cloud, curve };
for (const place of document.querySelectorAll("[data-export]")) {
  const name = place.dataset.export;
  addExports(place, pictures[name], { map: "phase-map", gram: "gram-matrix", cloud: "classifiers-3d", curve: "cosines" }[name], get(`${name}-legend`));
}

const controls = new Controls(form, (event) => onSettings(event, true), (event) => onSettings(event, false));
const tab = () => view.dataset.tab;
let movedAt = null;

function onSettings(event, map) {
  movedAt = performance.now();
  if (tab() === "map") (map ? askMap : askPoint)();
  else if (event.target.name !== "sizes") askSizes();
}

function fail(error) {
  if (!(error instanceof FieldError)) throw error;
  say(error.field, error.message);
}

const maps = new Latest(async (request, signal, firstShown) => {
  const { since, ...settings } = request;
  try {
    for await (const { about, planes } of streamMap(settings, signal)) {
      if (about.kind === "compiling") {
        get("map").classList.toggle("stale", map.frame !== null);
        busy("Compiling the solver for this model; this happens once …");
      }
      if (about.kind === "progress") busy(`${shown(about.solved, 6)} programs solved so far …`);
      if (about.kind !== "map") continue;
      hush(form);
      get("map").classList.remove("stale");
      map.show({ about, planes }, settings);
      painted(about, since);
      firstShown();
      if (about.first) askPoint();
    }
  } catch (error) {
    status.classList.remove("busy");
    get("map").classList.add("stale");
    if (error.name !== "AbortError") hush(form);
    if (error.name === "AbortError") throw error;
    fail(error);
    status.textContent = "The map still shows the settings from before this error.";
  }
});

const askMap = () => maps.ask({ ...controls.values(), since: movedAt });

function busy(text) {
  status.textContent = text;
  status.classList.add("busy");
}

// Tells how the map was solved, and how long after the move it was on the screen.
function painted(about, since) {
  requestAnimationFrame(() => setTimeout(() => {
    const late = since === null ? null : performance.now() - since;
    status.classList.toggle("busy", !about.last);
    const doubtful = about.unresolved ? `; ${shown(about.unresolved, 6)} unresolved` : "";
    status.textContent =
      `${shown(about.solved, 6)} programs solved and certified in ${seconds(about.seconds)}` +
      (late === null ? "" : `, on the screen ${seconds(late / 1000)} after the move`) +
      `; worst duality gap ${shown(about.worst_gap, 3)}${doubtful}.` +
      (about.last ? "" : " Refining …");
    if (late !== null) status.dataset.latency = late.toFixed(2);
    status.dataset.solver = (1000 * about.seconds).toFixed(2);
    status.dataset.painted = Number(status.dataset.painted) + 1;
  }));
}

const points = new Latest(async ({ path, request, where }) => {
  try {
    const slow = setTimeout(() => {
      get("point-phase").textContent = "Solving; the solver of a new model is compiled first …";
    }, 400);
    const found = await ask(path, request).finally(() => clearTimeout(slow));
    hush(form);
    shownPoints[where] = found;
    if (where === tab()) showPoint(found);
    if (where === "sizes") paths.ask({ request, of: found });
  } catch (error) {
    fail(error);
    get("point-phase").textContent = "The numbers below are those of the settings from before this error.";
  }
});

// The curve through typed class sizes, which is solved after the sizes themselves.
const paths = new Latest(async ({ request, of }) => {
  const slow = setTimeout(() => {
    if (tab() === "sizes") curve.say("Solving the curve; the solver for this number of different sizes is compiled first …");
  }, 1000);
  try {
    of.path = await ask("/api/path", request).finally(() => clearTimeout(slow));
    if (shownPoints.sizes === of && tab() === "sizes") showCurve(of);
  } catch (error) {
    fail(error);
    if (tab() === "sizes") curve.say("The curve could not be solved.");
  }
});

// A point of the map has its curve; that of typed class sizes is kept until the new one is solved.
function showCurve(found) {
  const { curve: own, ratio, reason } = found.curve ? found : (found.path ?? {});
  if (own) curve.show({ curve: own, ratio, classes: found.gram.length });
  else if (reason) curve.say(reason);
  else if (!curve.point?.curve.lines) curve.say("Solving the curve …");
}

function askPoint() {
  const request = controls.values();
  const here = controls.point();
  if (here) map.setPoint(here);
  points.ask({ path: "/api/point", request, where: "map" });
}

function sizesRequest() {
  return { ...controls.values(), sizes: get("sizes").value };
}

const askSizes = () => points.ask({ path: "/api/sizes", request: sizesRequest(), where: "sizes" });

function showPoint(found) {
  gram.show(found);
  cloud.show(found);
  showCurve(found);
  const chip = html("span", { class: "chip", style: `background:${PHASE_COLOURS[PHASES.indexOf(found.phase)]}` });
  get("point-phase").replaceChildren(chip, html("strong", {}, found.phase), document.createTextNode(`. ${found.sentence}`));
  const facts = [
    ["Objective", shown(found.objective, 8)], ["Duality gap", shown(found.gap, 3)], ["Status", `${found.status}, ${found.steps} steps`],
  ];
  if (found.curve) {
    facts.push(["R₀, collapse", threshold(found.curve.collapse)], ["R₁, vanishing", threshold(found.curve.vanish)]);
  }
  const groups = found.groups.slice(0, 12).map((group, g) => [
    groupName(found, g), String(group.count), shown(group.norm, 4), group.count > 1 ? shown(group.cosine, 4) : "one class",
  ]);
  get("point-facts").replaceChildren(
    table(["Certificate", ""], facts),
    html("div", { class: "scroll" }, table(["Group", "Classes", "Length", "Cosine within"], groups)),
  );
  get("code").textContent = "";
  get("code-details").open = false;
}

const threshold = (value) => (value === null ? "not known in closed form" : value === "infinite" ? "never" : shown(value, 6));

async function code() {
  const request = tab() === "sizes" ? sizesRequest() : controls.values();
  const { code: text } = await ask("/api/code", request);
  get("code").textContent = text;
  return text;
}

get("copy").addEventListener("click", async () => {
  const button = get("copy");
  try {
    await navigator.clipboard.writeText(await code());
    button.textContent = "Copied";
  } catch (error) {
    // Without permission to write to the clipboard, the text is shown and can be copied by hand.
    get("code-details").open = true;
    button.textContent = error instanceof FieldError ? "Not copied" : "Shown below";
    if (error instanceof FieldError) fail(error);
  }
  setTimeout(() => (button.textContent = "Copy as Python"), 2500);
});
get("code-details").addEventListener("toggle", () => {
  if (get("code-details").open && !get("code").textContent) code().catch(fail);
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (tab() === "sizes") askSizes();
  else askMap();
});

const tabs = ["map", "sizes", "features"];
function open(name) {
  view.dataset.tab = name;
  view.setAttribute("aria-labelledby", `tab-${name}`);
  for (const other of tabs) {
    get(`tab-${other}`).setAttribute("aria-selected", String(other === name));
    get(`tab-${other}`).tabIndex = other === name ? 0 : -1;
  }
  for (const part of view.querySelectorAll("[data-tabs]")) part.hidden = !part.dataset.tabs.split(" ").includes(name);
  hush(form);
  if (shownPoints[name]) showPoint(shownPoints[name]);
  else if (name === "sizes") form.requestSubmit();
  if (name === "map" && map.frame) {
    map.draw();
    // The model may have changed together with the class sizes.
    if (JSON.stringify(map.settings) !== JSON.stringify(controls.values())) askMap();
  }
}
for (const [i, name] of tabs.entries()) {
  get(`tab-${name}`).addEventListener("click", () => open(name));
  get(`tab-${name}`).addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    const next = tabs[(i + move + tabs.length) % tabs.length];
    open(next);
    get(`tab-${next}`).focus();
  });
}

const themeButton = get("theme");
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  themeButton.textContent = isDark() ? "Light" : "Dark";
  for (const picture of Object.values(pictures)) if (picture.point) picture.draw();
  colourReport();
}
themeButton.addEventListener("click", () => {
  setTheme(isDark() ? "light" : "dark");
  try {
    localStorage.setItem("nc-jax-theme", document.documentElement.dataset.theme);
  } catch {
    // A browser without storage still shows the other colours.
  }
});

setTheme(document.documentElement.dataset.theme);
bindFeatures();
open("map");
askMap();
