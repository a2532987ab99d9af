// A features file, dropped or chosen, and what its diagnosis says.

import { upload } from "./api.js";
import { html, shown } from "./plot.js";

const MEASURES = {
  nc1_pinv: "scatter within classes over scatter between them, by the pseudo-inverse",
  nc1_quotient: "scatter within classes over scatter between them, as a quotient of traces",
  nc1_cdnv: "scatter of two classes over their squared distance, mean over pairs",
  separation: "data separation: K times the first measure",
  nc2_etf: "distance of the class means from a simplex ETF",
  nc2_equinorm: "spread of the lengths of the class means",
  nc2_equiangularity: "spread of their angles",
  nc2_etf_classifiers: "distance of the classifiers from a simplex ETF",
  nc3_product: "distance of classifiers times class means from their limit",
  nc3_difference: "distance of the classifiers from the class means, both normalised",
  nc4: "share of samples that classifiers and nearest class mean decide differently",
  E_W: "mean squared length of the classifiers",
  E_H: "mean squared length of the features about their mean",
};

export function bindFeatures() {
  const [drop, input, error, status, place] = ["drop", "file", "file-error", "features-status", "diagnosis"]
    .map((id) => document.getElementById(id));

  async function take(file) {
    if (!file) return;
    error.textContent = "";
    place.replaceChildren();
    status.textContent = "";
    if (file.size > Number(drop.dataset.limit)) {
      // The server would refuse it too, but only after some of it has been sent.
      error.textContent = `The file has ${shown(file.size / 2 ** 20)} MiB, more than the ${shown(drop.dataset.limit / 2 ** 20)} MiB that the page takes; nc-jax diagnose reads files of any size.`;
      return;
    }
    status.textContent = `Reading ${file.name} and solving the model at its class sizes …`;
    status.classList.add("busy");
    try {
      place.replaceChildren(...report(await upload(file)));
      status.textContent = "Done; the file has been deleted from the server.";
    } catch (failed) {
      error.textContent = failed.message;
      status.textContent = "";
    }
    status.classList.remove("busy");
    input.value = "";
  }

  input.addEventListener("change", () => take(input.files[0]));
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (!file) return;
    document.getElementById("tab-features").click();
    take(file);
  });
}

function report(found) {
  const sentences = html("ul", {}, found.sentences.map((line) => html("li", {}, line)));
  const measures = table(["Measure", "Value"], found.measures.map(([name, value]) => [MEASURES[name] ? `${name}: ${MEASURES[name]}` : name, shown(value)]));
  const repeat = found.classes.some((row) => "repeat" in row);
  const head = ["Class", "Samples", "Classified correctly (share)", "Length (share of the longest)", "Nearest class", "Cosine to it", ...(repeat ? ["Repeat its samples (times)"] : [])];
  const rows = found.classes.map((row) => [
    row.class, shown(row.samples), shown(row.correct, 3), shown(row.length, 3), row.nearest, shown(row.cosine, 3),
    ...(repeat ? [shown(row.repeat, 3)] : []),
  ]);
  return [
    html("h3", {}, `Diagnosis of ${found.name}`), sentences,
    html("h3", {}, "The smallest classes"), html("div", { class: "scroll" }, table(head, rows)),
    html("h3", {}, "Measures"), measures,
  ];
}

export function table(head, rows) {
  const cell = (kind) => (text, column) => html(kind, column ? { class: "n" } : {}, String(text));
  return html("table", {}, [
    html("thead", {}, html("tr", {}, head.map(cell("th")))),
    html("tbody", {}, rows.map((row) => html("tr", {}, row.map(cell("td"))))),
  ]);
}
