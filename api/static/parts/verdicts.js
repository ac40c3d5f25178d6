// @ts-check
// What a run has reached, seed by seed, and what the word means.

import { ask } from "../server/api.js";
import { element, fill } from "./element.js";
import { number, words } from "./format.js";

/** @typedef {{ verdict: string, meaning: string, criterion: string }} Meaning */

/** @type {Promise<Meaning[]> | null} */
let asked = null;
/** The server's, asked for once. @returns {Promise<Meaning[]>} */
export const meanings = () => (asked ??= ask("verdicts").then(({ items }) => items).catch((error) => { asked = null; throw error; }));

/** A verdict as a link to what it means, with its criterion under the pointer. @param {string | null} reached */
const linked = (reached) => {
  const meaning = element("p", { class: "quiet" }), link = element("a", { href: `#/verdicts?verdict=${reached ?? ""}` }, words(reached));
  meanings().then((all) => {
    const mine = all.find(({ verdict }) => verdict === reached);
    fill(meaning, mine?.meaning ?? "");
    if (mine) link.title = mine.criterion;
  }).catch(() => {});
  return { link, meaning };
};

/** @param {import("./spec.js").Verdict[]} verdicts */
export function verdictList(verdicts) {
  /** @type {Map<string | null, import("./spec.js").Verdict[]>} */
  const kinds = new Map();
  for (const one of verdicts) kinds.set(one.reached, [...kinds.get(one.reached) ?? [], one]);
  return element("ul", { class: "verdicts" }, [...kinds].map(([reached, seeds]) => ({ ...linked(reached), seeds })).map(({ link, meaning, seeds }) => element("li", {},
    element("strong", {}, link), ` · ${seeds.length} of ${verdicts.length} seed${verdicts.length === 1 ? "" : "s"}`,
    meaning,
    element("details", {}, element("summary", {}, seeds.length === 1 ? `seed ${seeds[0].seed}` : "each seed"),
      element("ul", {}, seeds.map((one) => element("li", {}, `seed ${one.seed}: ${words(one.reached)}`,
        one.gap === null || one.gap === undefined ? "" : `, objective ${number(Math.abs(one.gap))} (relative) ${one.gap < 0 ? "below" : "above"} the predicted value`,
        one.note ? ` (${one.note})` : "")))))));
}

/** @param {import("./spec.js").Verdict[]} verdicts */
export const verdictWords = (verdicts) => [...new Set(verdicts.map((one) => words(one.reached)))].join(", ");
