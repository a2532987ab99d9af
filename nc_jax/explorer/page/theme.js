// Set before the first paint, so that no page flashes in the other colours.
const stored = (() => {
  try {
    return localStorage.getItem("nc-jax-theme");
  } catch {
    return null;
  }
})();
const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
document.documentElement.dataset.theme = stored ?? (dark ? "dark" : "light");
