// @ts-check
// Known values beside measured ones, by the names that the theory gives them: f* for a proven minimum only.

import { number } from "./format.js";

/** @typedef {{ predicted: number | null, predicted_name?: string | null, best_known?: number | null }} Known */
/** @typedef {[string, (one: Known | undefined) => string]} Column a heading, and what stands in a cell */

/** The columns of what is known of some values: none where nothing is. Where the names differ each cell says its own.
 * @param {Known[]} all @param {number} [digits] @returns {Column[]} */
export function knownColumns(all, digits) {
  const names = [...new Set(all.filter((one) => one.predicted !== null).map((one) => one.predicted_name ?? "predicted"))].sort();
  /** @type {Column[]} */
  const columns = names.length ? [[names.join(" or "), (one) => (one?.predicted === null || one === undefined ? "–"
    : number(one.predicted, digits) + (names.length > 1 ? `, ${one.predicted_name}` : ""))]] : [];
  if (all.some((one) => (one.best_known ?? null) !== null)) columns.push(["best known", (one) => number(one?.best_known ?? null, digits)]);
  return columns;
}
