// The data of the page, and functions that its parts share.
const data = JSON.parse(document.getElementById("data").textContent);

function make(name, attributes = {}, text = "") {
  const space = name.startsWith("svg:") ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, name.replace("svg:", ""));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Numbers in the format of the tables: with a minus sign, and empty if there is no number.
function shown(value, digits) {
  if (value === null) return "";
  if (digits === "text") return String(value);
  if (digits === "count") return value.toLocaleString("en");
  const text = digits === "fixed" ? value.toFixed(3) : String(Number(value.toPrecision(4)));
  return text.replace("-", "−");
}

function whenColorsChange(draw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("theme", draw);
}

// A page that shows this one in a frame may choose light or dark colours, as the explorer does.
addEventListener("message", (event) => {
  const theme = event.data?.theme;
  if (event.source !== parent || !["light", "dark"].includes(theme)) return;
  document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event("theme"));
});

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const area = document.getElementById(button.dataset.copy);
    area.select();
    try {
      await navigator.clipboard.writeText(area.value);
    } catch {
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
