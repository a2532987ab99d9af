// The settings: linked sliders and number fields, and the error messages of the fields.

import { html, lowered, shown } from "./plot.js";

// What a surrogate calls its amount of regularisation, and where it starts.
const STRENGTHS = {
  "layer-peeled": { symbol: "E", name: "Budget E", word: "budget", label: "Budget E = √(E_{W} E_{H})", hint: "Larger budgets regularise less.", value: "2", low: "0.25", high: "4" },
  unconstrained: { symbol: "λ", name: "Weight decay λ", word: "weight decay", label: "Weight decay λ = λ_{W} = λ_{H}", hint: "Larger decays regularise more.", value: "0.003", low: "0.0001", high: "0.1" },
};
const NAMES = ["surrogate", "loss", "classes", "majority", "largest", "ratio", "strength", "ratio_low", "ratio_high", "strength_low", "strength_high"];
const STEPS = 400;

export class Controls {
  // `onMap` is called where the map changes, `onPoint` where the point alone does.
  constructor(form, onMap, onPoint) {
    this.form = form;
    this.field = (name) => form.elements[name];
    this.kept = {};
    this.surrogate = this.field("surrogate").value;
    for (const slider of form.querySelectorAll("input[type=range]")) this.bind(slider);
    form.addEventListener("input", (event) => {
      const name = event.target.name || event.target.dataset.of;
      if (name === "surrogate") this.switchSurrogate();
      if (name === "classes" || name === "majority") this.keepCounts(event.target);
      if (name?.startsWith("ratio_") || name?.startsWith("strength_")) this.refreshSliders();
      if (["ratio", "strength", "sizes"].includes(name)) onPoint(event);
      else onMap(event);
    });
    this.switchSurrogate();
    this.refreshSliders();
  }

  bind(slider) {
    const number = this.field(slider.dataset.of);
    const logarithmic = "log" in slider.dataset;
    if (logarithmic) Object.assign(slider, { step: 1, min: 0, max: STEPS });
    slider.addEventListener("input", () => {
      number.value = logarithmic ? this.fromShare(slider) : slider.value;
      slider.setAttribute("aria-valuetext", number.value);
    });
    number.addEventListener("input", () => this.follow(slider));
    if (logarithmic) slider.dataset.ends = `${slider.getAttribute("min")} ${slider.getAttribute("max")}`;
  }

  ends(slider) {
    const of = slider.dataset.of;
    if (of === "largest") return [1, 1e6];
    return [Number(this.field(`${of}_low`).value), Number(this.field(`${of}_high`).value)];
  }

  fromShare(slider) {
    const [low, high] = this.ends(slider);
    return String(Number((low * (high / low) ** (slider.value / STEPS)).toPrecision(4)));
  }

  // The slider follows the typed number within its range.
  follow(slider) {
    const value = Number(this.field(slider.dataset.of).value);
    if (!Number.isFinite(value) || value <= 0) return;
    if ("log" in slider.dataset) {
      const [low, high] = this.ends(slider);
      if (!(low > 0 && high > low)) return;
      slider.value = Math.round((STEPS * Math.log(value / low)) / Math.log(high / low));
    } else {
      slider.value = value;
    }
    slider.setAttribute("aria-valuetext", String(value));
  }

  refreshSliders() {
    for (const slider of this.form.querySelectorAll("input[type=range]")) this.follow(slider);
  }

  // K_A stays below K while one of the two is dragged; typed numbers are left as they are.
  keepCounts(target) {
    const slider = this.form.querySelector("[data-of=majority]");
    const classes = Number(this.field("classes").value);
    if (Number.isInteger(classes) && classes >= 2) slider.max = classes - 1;
    if (target.type === "range" && Number(this.field("majority").value) >= classes) {
      this.field("majority").value = String(classes - 1);
    }
    this.follow(slider);
  }

  switchSurrogate() {
    const names = ["strength", "strength_low", "strength_high"];
    const now = this.field("surrogate").value;
    const about = STRENGTHS[now];
    if (now !== this.surrogate) {
      this.kept[this.surrogate] = names.map((name) => this.field(name).value);
      const values = this.kept[now] ?? [about.value, about.low, about.high];
      names.forEach((name, i) => (this.field(name).value = values[i]));
      this.surrogate = now;
    }
    document.getElementById("strength-label").replaceChildren(...lowered(about.label, (t) => html("sub", {}, t)));
    document.getElementById("strength-hint").textContent = about.hint;
    this.form.querySelector("[data-of=strength]").setAttribute("aria-label", about.name);
    document.querySelector(".strength-name").textContent = about.word;
    for (const symbol of this.form.querySelectorAll(".symbol")) symbol.textContent = about.symbol;
    for (const part of this.form.querySelectorAll("[data-only]")) part.hidden = part.dataset.only !== now;
    this.refreshSliders();
  }

  // The values as typed; the server checks them and explains errors.
  values() {
    const values = Object.fromEntries(NAMES.map((name) => [name, this.field(name).value.trim()]));
    values.bias = this.surrogate === "unconstrained" && this.field("bias").checked;
    return values;
  }

  setPoint({ ratio, strength }) {
    this.field("ratio").value = String(ratio);
    this.field("strength").value = String(strength);
    this.refreshSliders();
  }

  point() {
    const [ratio, strength] = [Number(this.field("ratio").value), Number(this.field("strength").value)];
    return ratio > 0 && strength > 0 ? { ratio, strength } : null;
  }
}

// Shows an error message at its field, or removes all messages of an earlier request.
export function say(field, sentence) {
  const place = document.getElementById(`${field}-error`) ?? document.getElementById("request-error");
  place.textContent = sentence;
  document.getElementById(field)?.setAttribute("aria-invalid", "true");
  place.closest("details")?.setAttribute("open", "");
}

export function hush(form) {
  for (const place of form.querySelectorAll(".error")) if (place.textContent) place.textContent = "";
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

export const seconds = (value) => (value < 1 ? `${shown(1000 * value, 3)} ms` : `${shown(value, 3)} s`);
