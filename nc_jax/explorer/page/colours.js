// Colours that readers with any colour vision can tell apart.

// Codes of phases as the server sends them; SEPARATED is shaded by the cosine.
export const PHASES = ["separated", "collapsed", "vanished", "unresolved"];
export const PHASE_COLOURS = ["#4292c6", "#d55e00", "#8d949b", "#f0e442"];
// Of groups of classes: Okabe and Ito's palette, with a marker each.
const GROUPS_LIGHT = ["#0072b2", "#c44e00", "#009e73", "#b0568c", "#8a6d00", "#2f7fb5", "#555555", "#7a3db8"];
const GROUPS_DARK = ["#56b4e9", "#ff9a4d", "#35c99a", "#e29ac4", "#f0d43a", "#9fd3f5", "#c8c8c8", "#c39bf0"];
const BLUES = ["#e9f2fa", "#c6dbef", "#85bcdb", "#4292c6", "#1a68af", "#08306b"];
const PURPLE_ORANGE = ["#4a2177", "#8073ac", "#c9c3df", "#f7f5f1", "#f9cb8f", "#dd7f1a", "#7f3b08"];

const parse = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function ramp(stops) {
  const colours = stops.map(parse);
  return (share) => {
    const place = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
    const first = Math.min(Math.floor(place), colours.length - 2);
    const rest = place - first;
    return colours[first].map((c, i) => Math.round(c + rest * (colours[first + 1][i] - c)));
  };
}

export const sequential = ramp(BLUES);
export const diverging = ramp(PURPLE_ORANGE);
export const css = (rgb) => `rgb(${rgb.join(",")})`;
export const isDark = () => document.documentElement.dataset.theme === "dark";
export const groupColour = (group) => (isDark() ? GROUPS_DARK : GROUPS_LIGHT)[group % GROUPS_LIGHT.length];

// A colour for each cell of a map; cosines from −1/(K−1), where all angles are equal, to 1.
export function cellColours(least) {
  const table = new Uint8ClampedArray(3 * 256);
  for (let i = 0; i < 256; i++) table.set(sequential(i / 255), 3 * i);
  const phases = PHASE_COLOURS.map(parse);
  return (phase, cosine, out, at) => {
    let colour = phases[phase];
    if (phase === 0) {
      const share = Number.isNaN(cosine) ? 0.5 : (cosine - least) / (1 - least);
      const i = 3 * Math.round(255 * Math.min(Math.max(share, 0), 1));
      colour = [table[i], table[i + 1], table[i + 2]];
    }
    out[at] = colour[0];
    out[at + 1] = colour[1];
    out[at + 2] = colour[2];
    out[at + 3] = 255;
  };
}
