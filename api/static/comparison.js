// The table measured | predicted | gap: of each quantity the seed that is farthest off, or all seeds.

import { element, number } from "./page.js";

const farthest = (rows) => {
  const found = new Map();
  for (const row of rows) {
    const key = `${row.quantity} ${row.layer}`, size = Math.abs(row.gap ?? Infinity);
    if (!found.has(key) || size > Math.abs(found.get(key).gap ?? Infinity)) found.set(key, row);
  }
  return [...found.values()];
};

const line = (row) => element("tr", {},
  element("th", { scope: "row" }, row.quantity), element("td", {}, row.layer ?? ""), element("td", {}, row.seed),
  ...[number(row.measured, 8), number(row.predicted, 8), number(row.gap)].map((text) => element("td", { class: "number" }, text)));

const table = (rows) => element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Theory beside measurement" },
  element("table", {},
    element("thead", {}, element("tr", {}, ["Quantity", "Layer", "Seed"].map((name) => element("th", { scope: "col" }, name)),
      ["Measured", "Predicted", "Gap"].map((name) => element("th", { scope: "col", class: "number" }, name)))),
    element("tbody", {}, rows.map(line))));

export function comparison() {
  const regime = element("p"), place = element("div"), notes = element("ul", { class: "quiet" });
  const seeds = element("select", { onchange: () => fillTable() },
    element("option", { value: "" }, "the one farthest off"), element("option", { value: "all" }, "all"));
  const choice = element("label", { hidden: true }, "Seeds", seeds);
  let rows = [];
  const fillTable = () => {
    choice.hidden = new Set(rows.map((row) => row.seed)).size < 2;
    place.replaceChildren(rows.length ? table(seeds.value === "all" ? rows : farthest(rows))
      : element("p", { class: "quiet" }, "Nothing has been measured yet, or nothing is predicted."));
  };
  return {
    node: element("div", {}, regime, element("div", { class: "bar" }, choice), place, notes),
    show({ comparison: found, prediction }) {
      rows = found ?? [];
      regime.textContent = `Regime: ${prediction.regime?.replaceAll("_", " ") ?? "not known"}.`;
      notes.replaceChildren(...(prediction.notes ?? []).map((text) => element("li", {}, text)));
      fillTable();
    },
  };
}
