// @ts-check
// The table of a sweep, a page at a time: a line for each combination and layer.

import { print } from "../server/json.js";
import { element, refill, table } from "./element.js";
import { number, status } from "./format.js";
import { knownColumns } from "./known.js";
import { text } from "./spec.js";
import { verdictWords } from "./verdicts.js";

export const PAGE = 50;
/** In the place of a layer's name: the metric that is of none, where it exists with layers too. */
export const NO_LAYER = "-";

/** @typedef {{ metric?: string, layer: string | null, mean: number | null, low: number | null, high: number | null,
 *   predicted: number | null, predicted_name?: string | null, best_known?: number | null }} Level */
/** @typedef {{ experiment: string, index: number, status: string, point: Record<string, unknown>, metrics: Level[], verdict: import("./spec.js").Verdict[] }} Item */

/** The last part of a path, where no other axis ends alike. @param {string} path @param {string[]} paths */
const brief = (path, paths) => {
  const last = path.split(".").at(-1) ?? path;
  return paths.filter((other) => other.split(".").at(-1) === last).length > 1 ? path : last;
};
/** @param {Level} level */
const range = ({ low, high }) => (low === null ? "–" : low === high ? number(low) : `${number(low)} … ${number(high)}`);

const NOTHING = { layer: null, mean: null, low: null, high: null, predicted: null };

/** @param {Item} item @param {Level} level @param {number} position @param {boolean} layered @param {import("./known.js").Column[]} known */
const line = (item, level, position, layered, known) => element("tr", {},
  element("td", {}, element("a", { id: `open-${item.experiment}-${level.layer ?? ""}`, href: `#/experiments/${item.experiment}`,
    "aria-label": `experiment ${position}` }, position.toLocaleString())),
  Object.values(item.point).map((value) => element("td", {}, text(value))),
  layered ? element("td", {}, level.layer ?? "") : null,
  element("td", { class: "number" }, number(level.mean, 8)),
  known.map(([, shown]) => element("td", { class: "number" }, shown(level))),
  element("td", { class: "number wide" }, range(level)),
  element("td", {}, status(item.status)),
  element("td", { class: "wide" }, verdictWords(item.verdict)));

/** @param {(offset: number) => void} turn @param {(sort: string) => void} order */
export function sweepTable(turn, order) {
  const place = element("div");
  const where = element("span", { role: "status" });
  const earlier = element("button", { id: "earlier", onclick: () => turn(Math.max(0, at - PAGE)) }, "Previous");
  const later = element("button", { id: "later", onclick: () => turn(at + PAGE) }, "Next");
  const pages = element("div", { class: "bar" }, earlier, later, where);
  let at = 0, shown = "";
  /** A click sorts by the column, a second one the other way. @param {string} name @param {string} key @param {string} sort */
  const sorter = (name, key, sort) => element("button", { class: "plain", type: "button", id: `sort-${key}`,
    onclick: () => order(sort === key ? `-${key}` : sort === `-${key}` ? "" : key) },
  name, sort === key ? " ↑" : sort === `-${key}` ? " ↓" : "");
  /** @param {{ items: Item[], axes: Record<string, unknown[]>, selected: number }} sweep
   * @param {{ metric: string, layer?: string, offset: number, sort: string }} state */
  const show = ({ items, axes, selected: total }, { metric: asked, layer, offset, sort }) => {
    const metric = items.some((one) => one.metrics.some((level) => level.metric === asked)) ? asked : items[0]?.metrics[0]?.metric ?? asked;
    const key = layer === NO_LAYER ? `${metric}.` : layer ? `${metric}.${layer}` : metric;
    at = offset;
    earlier.disabled = !at;
    later.disabled = at + PAGE >= total;
    pages.hidden = total <= PAGE && !at;
    const here = `${Math.min(at + 1, total).toLocaleString()}–${Math.min(at + PAGE, total).toLocaleString()} of ${total.toLocaleString()}`;
    if (where.textContent !== here) where.textContent = here;  // else it would be read aloud at each refresh
    const fresh = print([items, key, sort]);
    if (fresh === shown) return;
    shown = fresh;
    const layered = items.some((one) => one.metrics.some((level) => level.layer !== null));
    const known = knownColumns(items.flatMap(({ metrics }) => metrics), 8);
    /** @type {[any, string?][]} */
    const columns = [["#"], ...Object.keys(axes).map((path, _, paths) => /** @type {[any]} */ ([sorter(brief(path, paths), path, sort)])),
      .../** @type {[string][]} */ (layered ? [["Layer"]] : []), [sorter(metric, key, sort), "number"],
      .../** @type {[string, string][]} */ (known.map(([name]) => [name, "number"])),
      ["Range over seeds", "number wide"], [sorter("Status", "status", sort)], [sorter("Verdict", "verdict", sort), "wide"]];
    refill(place, table("Final values and predictions", columns, items.flatMap((one) =>
      (one.metrics.length ? one.metrics : [NOTHING]).map((level) => line(one, level, one.index + 1, layered, known)))));
  };
  return { node: element("div", {}, place, pages), show };
}
