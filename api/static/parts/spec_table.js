// @ts-check
// A spec as a table, beside the preset that it differs from.

import { ask } from "../server/api.js";
import { choice, element, fill, table } from "./element.js";
import { changes, leaves, text } from "./spec.js";

/** @param {any} spec @param {string} chosen a preset's name; "": the nearest @param {(preset: string) => void} change */
export async function specTable(spec, chosen, change) {
  const presets = (await ask("presets")).items.map((/** @type {{ name: string, title: string, spec: any }} */ one) => ({ ...one, flat: leaves(one.spec) }));
  const mine = leaves(spec), place = element("div");
  const distance = (/** @type {any} */ preset) => changes(mine, preset.flat).length;
  const nearest = presets.toSorted((/** @type {any} */ a, /** @type {any} */ b) => distance(a) - distance(b))[0];
  const show = (/** @type {string} */ name) => {
    const preset = presets.find((/** @type {any} */ one) => one.name === name) ?? nearest;
    const changed = new Set(changes(mine, preset.flat));
    fill(place, table("Config", [["Parameter"], ["Value"], [preset.name]], Object.entries(mine).map(([path, value]) => element("tr", {},
      element("th", { scope: "row" }, element("code", {}, path)),
      element("td", {}, changed.has(path) ? element("strong", {}, text(value)) : text(value)),
      element("td", { class: "quiet" }, path in preset.flat ? text(preset.flat[path]) : "–")))));
  };
  const select = choice("Compare with preset", presets.map((/** @type {any} */ one) => [one.name, one.title]), chosen || nearest.name, (name) => {
    show(name);
    change(name);
  });
  show(chosen);
  return element("div", {}, element("div", { class: "bar" }, select), place);
}
