// @ts-check
// What the theory predicts for a spec, asked for while it is being written.

import { Problem, send } from "../server/api.js";
import { element, fill } from "./element.js";
import { number, words } from "./format.js";

const WAIT_MS = 300;

/** @param {AbortSignal} signal @param {(faults: import("../server/api.js").Fault[]) => void} judged called with the spec's faults, none where it can be run */
export function prediction(signal, judged) {
  const node = element("section", { class: "prediction", "aria-live": "polite", "aria-label": "Prediction" });
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  let latest = 0;
  const show = (/** @type {any} */ found) => {
    const { regime, objective, threshold, global_minimum: global, notes } = found;
    /** @type {[string, string][]} */
    const facts = [["Regime", regime ? words(regime) : "unknown"], ["Predicted objective", number(objective, 8)]];
    if (threshold) facts.push([`Threshold ${threshold.name}`, `${number(threshold.value)} (critical ${number(threshold.critical)})`]);
    if (global !== null && global !== undefined) facts.push(["Global minimum", global ? "yes" : "no"]);
    fill(node, element("dl", { class: "facts" }, facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
      element("ul", { class: "quiet" }, (notes ?? []).map((/** @type {string} */ note) => element("li", {}, note))));
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  return {
    node,
    /** @param {string} text the spec as JSON */
    ask(text) {
      clearTimeout(timer);
      const mine = ++latest;
      timer = setTimeout(async () => {
        try {
          const found = await send("POST", "theory", text, { signal });
          if (mine !== latest) return;
          show(found);
          judged([]);
        } catch (error) {
          if (signal.aborted || mine !== latest || !(error instanceof Problem)) return;
          fill(node, element("p", { class: "quiet" }, "No prediction: the config is not valid yet."));
          judged(error.errors);
        }
      }, WAIT_MS);
    },
  };
}
