// @ts-check
// How far a sweep is and what it varies: shown alike in the list and on its page.

import { print } from "../server/json.js";
import { element } from "./element.js";
import { STATES } from "./format.js";

const FEW = 4;

/** @typedef {{ id: string, name: string, created_at: string, axes: Record<string, unknown[]>, total: number,
 *   statuses: Record<string, number>, progress: number, refining: boolean }} Sweep */

/** @param {Record<string, number>} statuses */
export const counts = (statuses) => element("span", { class: "counts" }, STATES.filter((name) => statuses[name]).map((name) =>
  element("span", { class: `status ${name}` }, `${statuses[name].toLocaleString()} ${name}`)));

/** @param {Sweep} sweep */
export const bar = ({ progress }) => element("span", { class: "nowrap" },
  element("progress", { max: 1, value: progress, "aria-label": "progress" }), ` ${Math.floor(100 * progress)}\u00a0%`);

/** @param {unknown[]} values */
const brief = (values) => {
  const texts = values.map((value) => print(value));
  return texts.length <= FEW ? texts.join(", ") : `${texts[0]} … ${texts.at(-1)} (${texts.length.toLocaleString()})`;
};

/** @param {Record<string, unknown[]>} axes */
export const axesOf = (axes) => Object.entries(axes).map(([path, values]) => element("div", { class: "axis" },
  element("code", {}, path), ` ${brief(values)}`));
