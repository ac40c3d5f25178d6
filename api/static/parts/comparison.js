// @ts-check
// The table predicted beside measured: for each quantity the seed with the largest gap, or all seeds.

import { choice, element, fill, table } from "./element.js";
import { number } from "./format.js";
import { facts } from "./prediction.js";

/** @typedef {{ quantity: string, layer: string | null, seed: number | bigint, measured: number | null, predicted: number, gap: number | null }} Row */

/** What is predicted, before anything has been measured. @param {any} prediction @returns {[string, string, number][]} */
const predictedOf = ({ objective, feature_norm_sq: features, levels }) => [
  .../** @type {[string, string, number][]} */ (objective === null || objective === undefined ? [] : [["objective", "", objective]]),
  ...Object.entries(features ?? {}).filter(([, norm]) => !Array.isArray(norm)).map(([layer, norm]) => /** @type {[string, string, number]} */ (["feature_norm_sq", layer, norm])),
  ...Object.entries(levels ?? {}).flatMap(([metric, layers]) => Object.entries(layers).map(([layer, value]) => /** @type {[string, string, number]} */ ([metric, layer, value]))),
];

/** @param {Row[]} rows */
const largestGap = (rows) => {
  /** @type {Map<string, Row>} */
  const found = new Map();
  const size = (/** @type {Row | undefined} */ row) => Math.abs(row?.gap ?? Infinity);
  for (const row of rows) {
    const key = `${row.quantity} ${row.layer}`;
    if (!found.has(key) || size(row) > size(found.get(key))) found.set(key, row);
  }
  return [...found.values()];
};

/** @param {Row} row */
const line = (row) => element("tr", {},
  element("th", { scope: "row" }, row.quantity), element("td", {}, row.layer ?? ""), element("td", {}, row.seed),
  [number(row.measured, 8), number(row.predicted, 8), number(row.gap)].map((text) => element("td", { class: "number" }, text)));

/** @param {{ seeds: string }} state "all": every seed in the table @param {() => void} changed */
export function comparison(state, changed) {
  const known = element("div"), place = element("div"), notes = element("ul", { class: "quiet" });
  /** @type {Row[]} */
  let rows = [];
  /** @type {[string, string, number][]} */
  let predicted = [];
  const seedChoice = choice("Seeds", [["", "largest gap"], ["all", "all"]], state.seeds, (value) => { state.seeds = value; changed(); fillTable(); });
  const fillTable = () => {
    seedChoice.hidden = new Set(rows.map((row) => row.seed)).size < 2;
    fill(place, rows.length
      ? table("Predicted and measured", [["Metric"], ["Layer"], ["Seed"], ["Measured", "number"], ["Predicted", "number"], ["Gap", "number"]],
        (state.seeds ? rows : largestGap(rows)).map(line))
      : predicted.length ? table("Predicted", [["Metric"], ["Layer"], ["Predicted", "number"]], predicted.map(([metric, layer, value]) => element("tr", {},
        element("th", { scope: "row" }, metric), element("td", {}, layer), element("td", { class: "number" }, number(value, 8)))))
        : element("p", { class: "quiet" }, "No measurement with a prediction yet."));
  };
  return {
    node: element("div", {}, known, element("div", { class: "bar" }, seedChoice), place, notes),
    /** @param {{ comparison?: Row[], prediction: { notes?: string[] } }} theory */
    show({ comparison: found, prediction }) {
      rows = found ?? [];
      predicted = predictedOf(prediction);
      fill(known, facts(prediction));
      fill(notes, (prediction.notes ?? []).map((note) => element("li", {}, note)));
      fillTable();
    },
  };
}
