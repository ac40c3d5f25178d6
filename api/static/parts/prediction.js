// @ts-check
// What the theory predicts for a spec and what it will need, asked for while it is being written.

import { Problem, send } from "../server/api.js";
import { element, fill } from "./element.js";
import { bytes, duration, number, words } from "./format.js";

const WAIT_MS = 300;
/** Names of thresholds that are written as symbols. @type {Record<string, string>} */
const SYMBOLS = { gamma: "γ" };

/** What is known of the objective, as a list of facts: the predicted value by its name, whether it is the minimum, and the best known one; then `more`.
 * @param {any} found @param {[string, import("./element.js").Child][]} [more] */
export function facts(found, more = []) {
  const { regime, objective, objective_name: name, threshold, global_minimum: global, better_known: better } = found;
  /** @type {[string, import("./element.js").Child][]} */
  const known = [["Regime", regime ? words(regime) : "unknown"]];
  if (objective !== null && objective !== undefined) known.push([`Predicted objective, ${name}`, number(objective, 8)], ["Global minimum", { true: "yes", false: "no" }[String(global)] ?? "not known"]);
  if (better) known.push(["Best known objective", `${number(better.objective, 8)} (${words(better.structure)}; ${better.source})`]);
  if (threshold) known.push([`Threshold ${SYMBOLS[threshold.name] ?? threshold.name}`, `${number(threshold.value)} (critical ${number(threshold.critical)})`]);
  return element("dl", { class: "facts" }, [...known, ...more].map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))));
}

/** @param {any} needs as POST /estimate answers @returns {[string, import("./element.js").Child][]} */
const needed = ({ memory_bytes: memory, memory_limit_bytes: limit, queue, seconds }) => (queue === null ? [] : [
  ["Memory", Number(memory) > Number(limit) ? element("strong", { class: "bad" }, `${bytes(Number(memory))}, the limit is ${bytes(Number(limit))}`) : bytes(Number(memory))],
  ["Time", seconds === null ? element("span", { title: "Nothing of this shape has ended here yet." }, "not known") : `about ${duration(Number(seconds))}`],
  ["Trained on", queue === "gpu" ? "GPU, where there is one" : "CPU"]]);

/** @param {AbortSignal} signal @param {(faults: import("../server/api.js").Fault[]) => void} judged called with the spec's faults, none where it can be run
 * @param {string} [name] */
export function prediction(signal, judged, name = "Prediction") {
  const heading = name === "Prediction" ? null : element("h2", {}, name);
  const node = element("section", { class: "prediction", "aria-live": "polite", "aria-label": name });
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  let latest = 0;
  const show = (/** @type {any} */ found, /** @type {any} */ needs) => {
    fill(node, heading, facts(found, needed(needs)), element("ul", { class: "quiet" }, (found.notes ?? []).map((/** @type {string} */ note) => element("li", {}, note))));
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
          const [found, needs] = await Promise.all(["theory", "estimate"].map((path) => send("POST", path, text, { signal })));
          if (mine !== latest) return;
          show(found, needs);
          judged([]);
        } catch (error) {
          if (signal.aborted || mine !== latest || !(error instanceof Problem)) return;
          fill(node, heading, element("p", { class: "quiet" }, "No prediction: the config is not valid yet."));
          judged(error.errors);
        }
      }, WAIT_MS);
    },
  };
}
