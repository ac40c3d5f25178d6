// @ts-check
// What the theory predicts for a spec and what it will need, asked for while it is being written.

import { send } from "../server/api.js";
import { element, fill } from "./element.js";
import { bytes, duration, number, words } from "./format.js";
import { boundariesOf, phases } from "./phases.js";
import { whileTyping } from "./while_typing.js";

/** What is known of the objective, as a list of facts: the predicted value by its name, whether it is the minimum, and the best known one; then `more`.
 * @param {any} found @param {[string, import("./element.js").Child][]} [more] */
export function facts(found, more = []) {
  const { regime, objective, objective_name: name, threshold, global_minimum: global, better_known: better } = found;
  /** @type {[string, import("./element.js").Child][]} */
  const known = [["Regime", regime ? words(regime) : "unknown"]];
  if (objective !== null && objective !== undefined) known.push([`Predicted objective, ${name}`, number(objective, 8)], ["Global minimum", { true: "yes", false: "no" }[String(global)] ?? "not known"]);
  if (better) known.push(["Best known objective", `${number(better.objective, 8)} (${words(better.structure)}; ${better.source})`]);
  if (threshold) known.push([`Threshold ${threshold.symbol}`, `${number(threshold.value)} (critical ${number(threshold.critical)})`]);
  return element("dl", { class: "facts" }, [...known, ...more].map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))));
}

/** @param {string[]} texts */
export const notes = (texts) => element("ul", { class: "quiet" }, texts.map((text) => element("li", {}, text)));

/** @param {any} needs as POST /estimate answers @returns {[string, import("./element.js").Child][]} */
const needed = ({ memory_bytes: memory, memory_limit_bytes: limit, queue, seconds }) => (queue === null ? [] : [
  ["Memory", Number(memory) > Number(limit) ? element("strong", { class: "bad" }, `${bytes(Number(memory))}, the limit is ${bytes(Number(limit))}`) : bytes(Number(memory))],
  ["Time", seconds === null ? element("span", { title: "Nothing of this shape has ended here yet." }, "not known") : `about ${duration(Number(seconds))}`],
  ["Trained on", queue === "gpu" ? "GPU, where there is one" : "CPU"]]);

/** @param {AbortSignal} signal @param {(faults: import("../server/api.js").Fault[]) => void} judged called with the spec's faults, none where it can be run */
export function prediction(signal, judged) {
  const node = element("section", { class: "prediction", "aria-live": "polite", "aria-label": "Prediction" });
  /** @param {string} text the spec as JSON */
  const answers = (text) => Promise.all(["theory", "estimate"].map((path) => send("POST", path, text, { signal })));
  const ask = whileTyping(signal, answers, ([found, needs]) => {
    fill(node, facts(found, needed(needs)), phases(boundariesOf(found)), notes(found.notes ?? []));
    judged([]);
  }, ({ errors }) => {
    fill(node, element("p", { class: "quiet" }, "No prediction: the config is not valid yet."));
    judged(errors);
  });
  return { node, ask };
}
