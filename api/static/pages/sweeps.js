// @ts-check
// The list of sweeps.

import { ask } from "../server/api.js";
import { print } from "../server/json.js";
import { keep } from "../parts/address.js";
import { element, named, refill, table, title } from "../parts/element.js";
import { time } from "../parts/format.js";
import { often } from "../parts/often.js";
import { axesOf, bar, counts } from "../parts/sweeps.js";

const PAGE = 50, LARGEST_PAGE = 200;

/** @param {import("../parts/sweeps.js").Sweep} item */
const row = (item) => element("tr", {},
  element("td", {}, element("a", { id: `open-${item.id}`, href: `#/sweeps/${item.id}` }, named(item)),
    item.name ? element("div", { class: "quiet" }, element("small", {}, item.id)) : null),
  element("td", {}, element("div", {}, bar(item)), counts(item.statuses)),
  element("td", { class: "wide" }, axesOf(item.axes)),
  element("td", { class: "wide" }, time(item.created_at)));

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search }) {
  title("Sweeps");
  const more = element("button", { hidden: true, onclick: () => {
    limit += PAGE;
    keep({ show: limit });
    refresh().catch(() => {});
  } }, "Show older");
  const empty = element("p", { class: "quiet", hidden: true }, "No sweeps yet. ", element("a", { href: "#/sweeps/new" }, "Start one"), ".");
  const list = table("Sweeps", [["Sweep"], ["Experiments"], ["Axes", "wide"], ["Submitted", "wide"]], []);
  const rows = /** @type {HTMLElement} */ (list.querySelector("tbody"));
  let limit = Math.max(PAGE, Number.parseInt(search.get("show") ?? "", 10) || PAGE), shown = "";
  /** The newest `limit`, by as many requests as the API's largest page needs. */
  const read = async () => {
    /** @type {import("../parts/sweeps.js").Sweep[]} */
    const items = [];
    /** @type {string | null} */
    let cursor = "";
    while (cursor !== null && items.length < limit) {
      const query = new URLSearchParams({ limit: String(Math.min(LARGEST_PAGE, limit - items.length)), ...(cursor ? { cursor } : {}) });
      const { items: some, next_cursor: next } = await ask(`sweeps?${query}`, { signal });
      items.push(...some);
      cursor = next;
    }
    return { items, isComplete: cursor === null };
  };
  const refresh = async () => {
    const { items, isComplete } = await read();
    const fresh = print(items);
    if (fresh !== shown) refill(rows, items.map(row));
    shown = fresh;
    more.hidden = isComplete;
    empty.hidden = items.length > 0;
    list.hidden = !items.length;
  };

  await refresh();
  page.replaceChildren(
    element("h1", {}, "Sweeps"),
    element("p", { class: "quiet" }, "A sweep runs one experiment for each combination of values."),
    element("p", { class: "actions" }, element("a", { class: "button", href: "#/sweeps/new" }, "New sweep")),
    list, empty, more);
  often(refresh, signal);
}
