// Set before the first paint, so that the page does not flash in the other colours.
const stored = (() => {
  try {
    return localStorage.getItem("nc-jax-theme");
  } catch {
    return null;
  }
})();
const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.theme = stored ?? (dark ? "dark" : "light");
