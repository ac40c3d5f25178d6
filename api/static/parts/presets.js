// @ts-check
// The presets as cards.

import { ask } from "../server/api.js";
import { element } from "./element.js";

/** @typedef {{ name: string, title: string, description: string, spec: any, body?: any }} Preset `body` of a sweep's */

/** @param {AbortSignal} signal @param {"experiment" | "sweep"} [kind] @returns {Promise<Preset[]>} */
export const presets = async (signal, kind = "experiment") => (await ask(`presets?kind=${kind}`, { signal })).items;

/** @param {Preset[]} all @param {string} chosen @param {(preset: Preset) => void} choose */
export function cards(all, chosen, choose) {
  const buttons = all.map((preset) => element("button", { type: "button", class: "card", "aria-pressed": String(preset.name === chosen),
    onclick: () => {
      for (const one of buttons) one.setAttribute("aria-pressed", String(one === buttons[all.indexOf(preset)]));
      choose(preset);
    } }, element("strong", {}, preset.title), element("small", {}, preset.description)));
  return element("div", { class: "cards", role: "group", "aria-label": "Start from a preset" }, buttons);
}
