// @ts-check
// What the theory predicts for a spec, asked for while it is being written.

import { Problem, send } from "../server/api.js";
import { element, fill } from "./element.js";
import { number, words } from "./format.js";

const WAIT_MS = 300;

/** What is known of the objective, as a list of facts: the predicted value by its name, whether it is the minimum, and the best known one. @param {any} found */
export function facts(found) {
  const { regime, objective, objective_name: name, threshold, global_minimum: global, better_known: better } = found;
  /** @type {[string, string][]} */
  const known = [["Regime", regime ? words(regime) : "unknown"]];
  if (objective !== null && objective !== undefined) known.push([`Predicted objective, ${name}`, number(objective, 8)], ["Global minimum", { true: "yes", false: "no" }[String(global)] ?? "not known"]);
  if (better) known.push(["Best known objective", `${number(better.objective, 8)} (${words(better.structure)}; ${better.source})`]);
  if (threshold) known.push([`Threshold ${threshold.name}`, `${number(threshold.value)} (critical ${number(threshold.critical)})`]);
  return element("dl", { class: "facts" }, known.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))));
}

/** @param {AbortSignal} signal @param {(faults: import("../server/api.js").Fault[]) => void} judged called with the spec's faults, none where it can be run */
export function prediction(signal, judged) {
  const node = element("section", { class: "prediction", "aria-live": "polite", "aria-label": "Prediction" });
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  let latest = 0;
  const show = (/** @type {any} */ found) => {
    fill(node, facts(found), element("ul", { class: "quiet" }, (found.notes ?? []).map((/** @type {string} */ note) => element("li", {}, note))));
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
