// A dropped or chosen file, and its report in a frame.

import { upload } from "./api.js";
import { hush, say } from "./controls.js";
import { html, shown } from "./plot.js";

export function bindFeatures() {
  const [section, drop, input, decay, status, place] = ["features", "drop", "file", "weight_decay", "features-status", "report"]
    .map((id) => document.getElementById(id));

  async function take(file) {
    if (!file) return;
    hush(section);
    place.replaceChildren();
    status.textContent = "";
    if (file.size > Number(drop.dataset.limit)) {
      // The server would also refuse it, but only after a part of it has been sent.
      say("file", `The file has ${shown(file.size / 2 ** 20)} MiB, more than the limit of ${shown(drop.dataset.limit / 2 ** 20)} MiB; nc-jax diagnose reads files of any size.`);
      return;
    }
    status.textContent = `Reading ${file.name} and solving the model for its class sizes …`;
    status.classList.add("busy");
    try {
      place.replaceChildren(...frame(file.name, await upload(file, decay.value.trim())));
      status.textContent = "Done; the file has been deleted from the server.";
    } catch (failed) {
      say(failed.field || "file", failed.message);
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

// The report runs outside the origin of this page.
function frame(name, address) {
  const kept = `${name.replace(/\.npz$/, "")}-diagnosis.html`;
  const report = html("iframe", { src: address, title: `Diagnosis of ${name}`, sandbox: "allow-scripts allow-downloads", allow: "clipboard-write" });
  report.addEventListener("load", () => colourReport(report));
  return [
    html("p", {}, html("a", { href: address, download: kept }, "Download this report as one HTML file")),
    report,
  ];
}

// Gives the report in a frame the colours of this page. The frame has no origin of its own, so
// the message cannot name one; it holds nothing that others may not read.
export function colourReport(report = document.querySelector("#report iframe")) {
  report?.contentWindow.postMessage({ theme: document.documentElement.dataset.theme }, "*");
}
