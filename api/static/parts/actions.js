// @ts-check
import { element, fill, problem } from "./element.js";

/** Makes buttons whose failures are shown in one place. */
export function actions() {
  const note = element("div", { role: "status" });
  const act = (/** @type {string} */ label, /** @type {() => unknown} */ work, attributes = {}) => element("button", { type: "button", ...attributes, onclick: async () => {
    fill(note);
    try { await work(); } catch (error) { fill(note, problem(error)); }
  } }, label);
  return { note, act };
}
