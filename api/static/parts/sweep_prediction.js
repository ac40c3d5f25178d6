// @ts-check
// What the theory predicts over the combinations of a sweep and what all of them will need, asked for while it is being written.

import { send } from "../server/api.js";
import { element, fill } from "./element.js";
import { bytes, duration, extent, words } from "./format.js";
import { boundariesOf, phases } from "./phases.js";
import { facts, notes } from "./prediction.js";
import { text } from "./spec.js";
import { whileTyping } from "./while_typing.js";

/** @typedef {import("./element.js").Child} Child */

/** A prediction that takes long is in a later answer. */
const AGAIN_MS = 2000;
const KINDS = { cpu: "CPU", gpu: "GPU, where there is one" };

/** {what: how many} in words; the number is left out where there is one alone. @param {Record<string, number>} counts @param {(name: string) => string} [shown] */
const counted = (counts, shown = words) => {
  const all = Object.entries(counts).sort(([, one], [, other]) => other - one);
  return all.length === 1 ? shown(all[0][0]) : all.map(([name, count]) => `${shown(name)} (${count.toLocaleString()})`).join(", ");
};

/** @param {any} found as POST /sweeps/estimate answers @returns {[string, Child][]} */
function predicted({ forecast: { examined, regimes, objectives, global_minimum: proven, best_known: best, boundaries }, combinations }) {
  const some = examined < combinations ? ` of ${examined.toLocaleString()} examined` : "";
  return [[`Regime${some}`, examined ? counted(regimes) : "being computed …"],
    ...Object.entries(objectives).map(([name, values]) => /** @type {[string, Child]} */ ([`Predicted objective, ${name}`, extent(/** @type {any} */ (values), 8)])),
    .../** @type {[string, Child][]} */ (Object.keys(proven).length ? [["Global minimum", counted(proven)]] : []),
    .../** @type {[string, Child][]} */ (best ? [["Best known objective", extent(best, 8)]] : []),
    ...boundaries.map((/** @type {any} */ one) => [`Threshold ${one.symbol}`, `${extent(one.value)} (critical ${extent(one.critical)})`])];
}

/** @param {any} found @returns {[string, Child][]} */
function needed({ combinations, sizes, budget, memory_bytes: memory, total_memory_bytes: total, measurements, queues, seconds, timed }) {
  const product = sizes.length > 1 ? `${sizes.map((/** @type {number} */ size) => size.toLocaleString()).join(" × ")} = ` : "";
  const share = timed < combinations ? `, known for ${timed.toLocaleString()} of ${combinations.toLocaleString()}` : "";
  return [["Combinations", `${product}${combinations.toLocaleString()} experiment${combinations === 1 ? "" : "s"}${budget ? `, refined up to ${budget.toLocaleString()}` : ""}`],
    ["Memory", `at most ${bytes(memory)} each, ${bytes(total)} in all`],
    ["Time", seconds === null ? element("span", { title: "Nothing of these shapes has ended here yet." }, "not known") : `about ${duration(seconds)} of one worker${share}`],
    ["Trained on", counted(queues, (name) => KINDS[/** @type {keyof typeof KINDS} */ (name)])],
    ["Measurements", `${measurements.toLocaleString()} rows`]];
}

/** @param {{ point: Record<string, unknown>, prediction: any }} end @param {string} name */
const endOf = ({ point, prediction }, name) => element("section", { class: "prediction", "aria-label": name }, element("h2", {}, name),
  element("p", { class: "quiet" }, Object.entries(point).map(([path, value]) => `${path} = ${text(value)}`).join(", ")),
  facts(prediction), phases(boundariesOf(prediction)), notes(prediction.notes ?? []));

/** @param {AbortSignal} signal @param {(faults: import("../server/api.js").Fault[]) => void} judged called with the sweep's faults, none where it can be run */
export function sweepPrediction(signal, judged) {
  const all = element("section", { class: "prediction", "aria-live": "polite", "aria-label": "All combinations" });
  const ends = element("div", { class: "ends" });
  const both = element("details", { open: true, hidden: true }, element("summary", {}, "First and last combination"), ends);
  const node = element("div", {}, all, both);
  /** @type {ReturnType<typeof setTimeout>} */
  let again;
  let latest = "";
  const ask = (/** @type {string} */ typed) => { clearTimeout(again); latest = typed; question(typed); };
  signal.addEventListener("abort", () => clearTimeout(again));
  const question = whileTyping(signal, (typed) => send("POST", "sweeps/estimate", typed, { signal }), (found) => {
    fill(all, element("dl", { class: "facts" }, [...needed(found), ...predicted(found)].map(([term, value]) =>
      element("div", {}, element("dt", {}, term), element("dd", {}, value)))), phases(found.forecast.boundaries));
    both.hidden = !found.ends.length;
    fill(ends, found.ends.map((/** @type {any} */ end, /** @type {number} */ i) => endOf(end, i ? "Last combination" : "First combination")));
    judged([]);
    if (found.ends.length < Math.min(2, found.combinations)) again = setTimeout(() => ask(latest), AGAIN_MS);
  }, ({ errors, message }) => {
    fill(all, element("p", { class: "quiet" }, "No prediction: the sweep is not valid yet."),
      element("ul", { class: "bad" }, errors.length ? errors.map((one) => element("li", {}, `${one.field}: ${one.message}`)) : element("li", {}, message)));
    both.hidden = true;
    judged(errors);
  });
  return { node, ask };
}
