// The table of a sweep, a page at a time: a line for each combination and layer.

import { print } from "./json.js";
import { element, number, refill, status } from "./page.js";

export const PAGE = 50;

const words = (verdict) => [...new Set(verdict.map((one) => one.reached.replaceAll("_", " ")))].join(", ");

// The last part of a path, where no other axis ends alike.
const brief = (path, paths) => {
  const last = path.split(".").at(-1);
  return paths.filter((other) => other.split(".").at(-1) === last).length > 1 ? path : last;
};
const text = (value) => print(typeof value === "number" ? Number(value.toPrecision(8)) : value);
const range = ({ low, high }) => (low === null ? "–" : low === high ? number(low) : `${number(low)} … ${number(high)}`);

const NOTHING = { layer: null, mean: null, low: null, high: null, predicted: null };

const line = (item, level, position, layered) => element("tr", {},
  element("td", {}, element("a", { id: `open-${item.experiment}-${level.layer ?? ""}`, href: `#/experiments/${item.experiment}`,
    "aria-label": `experiment ${position}` }, position.toLocaleString())),
  Object.values(item.point).map((value) => element("td", {}, text(value))),
  layered ? element("td", {}, level.layer ?? "") : null,
  element("td", { class: "number" }, number(level.mean, 8)),
  element("td", { class: "number" }, number(level.predicted, 8)),
  element("td", { class: "number wide" }, range(level)),
  element("td", {}, status(item.status)),
  element("td", { class: "wide" }, words(item.verdict)));

export function sweepTable(turn) {
  const place = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Final metrics beside predictions" });
  const where = element("span", { role: "status" });
  const earlier = element("button", { id: "earlier", onclick: () => turn(Math.max(0, at - PAGE)) }, "Previous");
  const later = element("button", { id: "later", onclick: () => turn(at + PAGE) }, "Next");
  const pages = element("div", { class: "bar" }, earlier, later, where);
  let at = 0, shown = "";
  const head = (name, attributes = {}) => element("th", { scope: "col", ...attributes }, name);
  const rows = (item, layered) => item.items.flatMap((one, i) =>
    (one.metrics.length ? one.metrics : [NOTHING]).map((level) => line(one, level, at + i + 1, layered)));
  const show = (item, { metric, offset }) => {
    at = offset;
    earlier.disabled = !at;
    later.disabled = at + PAGE >= item.total;
    pages.hidden = item.total <= PAGE && !at;
    const last = Math.min(at + PAGE, item.total);
    const told = `${(at + 1).toLocaleString()}–${last.toLocaleString()} of ${item.total.toLocaleString()}`;
    if (where.textContent !== told) where.textContent = told;  // else it would be read aloud at each refresh
    const fresh = print([item.items, metric]);
    if (fresh === shown) return;
    shown = fresh;
    const layered = item.items.some((one) => one.metrics.some((level) => level.layer !== null));
    refill(place, element("table", {},
      element("thead", {}, element("tr", {}, head("Nr."), Object.keys(item.axes).map((path, _, paths) => head(brief(path, paths), { title: path })),
        layered ? head("Layer") : null, head(metric, { class: "number" }), head("Predicted", { class: "number" }),
        head("Over the seeds", { class: "number wide" }), head("Status"), head("Verdict", { class: "wide" }))),
      element("tbody", {}, rows(item, layered))));
  };
  return { node: element("div", {}, place, pages), show };
}
