// @ts-check
// What a run has reached, seed by seed, and what the word means.

import { element } from "./element.js";
import { number, words } from "./format.js";

/** @type {Record<string, string>} */
const MEANING = {
  orthogonal_frame: "Samples have collapsed to their class means (NC1), and the class means form an orthogonal frame (NC2).",
  simplex_etf: "Samples have collapsed to their class means (NC1), and the class means form a simplex equiangular tight frame (NC2).",
  between: "Samples have collapsed to their class means, which lie between the orthogonal frame and the simplex ETF or in no named frame.",
  zero: "All weights and features have gone to zero: the objective has its value there.",
  rank_deficient: "Fewer directions are active than there are classes, so some class means coincide or are zero.",
  dead_samples: "Some samples have features that are zero and get no gradient any more.",
  diverged: "The objective is not finite. A smaller learning rate may help.",
  not_converged: "The run has ended before its class means reached a frame.",
};

/** @param {import("./spec.js").Verdict[]} verdicts */
export function verdictList(verdicts) {
  /** @type {Map<string | null, import("./spec.js").Verdict[]>} */
  const kinds = new Map();
  for (const one of verdicts) kinds.set(one.reached, [...kinds.get(one.reached) ?? [], one]);
  return element("ul", { class: "verdicts" }, [...kinds].map(([reached, seeds]) => element("li", {},
    element("strong", {}, words(reached)), ` · ${seeds.length} of ${verdicts.length} seed${verdicts.length === 1 ? "" : "s"}`,
    element("p", { class: "quiet" }, MEANING[reached ?? ""] ?? ""),
    element("details", {}, element("summary", {}, seeds.length === 1 ? `seed ${seeds[0].seed}` : "each seed"),
      element("ul", {}, seeds.map((one) => element("li", {}, `seed ${one.seed}: ${words(one.reached)}`,
        one.gap === null || one.gap === undefined ? "" : `, objective ${number(one.gap)} (relative) above the predicted minimum`,
        one.note ? ` (${one.note})` : "")))))));
}

/** @param {import("./spec.js").Verdict[]} verdicts */
export const verdictWords = (verdicts) => [...new Set(verdicts.map((one) => words(one.reached)))].join(", ");
