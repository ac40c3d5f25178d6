// The list of sweeps, and what its page and theirs show alike.

import { ask } from "./server.js";
import { print } from "./json.js";
import { element, named, refill, time, title } from "./page.js";

const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];
const FEW = 4;

export const counts = (statuses) => element("span", { class: "counts" }, STATES.filter((name) => statuses[name]).map((name) =>
  element("span", { class: `status ${name}` }, `${statuses[name].toLocaleString()} ${name}`)));

export const bar = ({ progress }) => element("span", { class: "nowrap" },
  element("progress", { max: 1, value: progress, "aria-label": "progress" }), ` ${Math.floor(100 * progress)}\u00a0%`);

const brief = (values) => {
  const texts = values.map((value) => print(value));
  return texts.length <= FEW ? texts.join(", ") : `${texts[0]} … ${texts.at(-1)} (${texts.length.toLocaleString()})`;
};

export const axesOf = (axes) => Object.entries(axes).map(([path, values]) => element("div", { class: "axis" },
  element("code", {}, path), ` ${brief(values)}`));

const LEAST_MS = 1500, MOST_MS = 5000, SHARE = 2;

// Again and again while the page is looked at; what takes long is asked for less often.
export function often(work, signal) {
  let timer = null;
  const again = async () => {
    const began = performance.now();
    if (!document.hidden) await work().catch(() => {});  // what failed is asked for again at the next turn
    const pause = Math.min(MOST_MS, Math.max(LEAST_MS, SHARE * (performance.now() - began)));
    if (!signal.aborted) timer = setTimeout(again, pause);
  };
  timer = setTimeout(again, LEAST_MS);
  signal.addEventListener("abort", () => clearTimeout(timer));
}

const row = (item) => element("tr", {},
  element("td", {}, element("a", { id: `open-${item.id}`, href: `#/sweeps/${item.id}` }, named(item)),
    item.name ? element("div", { class: "quiet" }, element("small", {}, item.id)) : null),
  element("td", {}, element("div", {}, bar(item)), counts(item.statuses)),
  element("td", { class: "wide" }, axesOf(item.axes)),
  element("td", { class: "wide" }, time(item.created_at)));

export async function sweeps(page, signal) {
  title("Sweeps");
  const rows = element("tbody");
  const more = element("button", { hidden: true }, "Show older");
  const empty = element("p", { class: "quiet", hidden: true }, "No sweep has been run yet. ",
    element("a", { href: "#/sweeps/new" }, "Start the first one"), ".");
  let limit = 50, shown = "";
  const refresh = async () => {
    const { items } = await ask(`sweeps?limit=${limit}`, { signal });
    const fresh = print(items);
    if (fresh !== shown) refill(rows, items.map(row));
    shown = fresh;
    more.hidden = items.length < limit || limit >= 200;
    empty.hidden = items.length > 0;
    table.hidden = !items.length;
  };
  const head = (name, attributes = {}) => element("th", { scope: "col", ...attributes }, name);
  const table = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Sweeps" }, element("table", {},
    element("thead", {}, element("tr", {}, head("Sweep"), head("Experiments"),
      head("Axes", { class: "wide" }), head("Submitted", { class: "wide" }))), rows));
  more.onclick = () => { limit = Math.min(200, limit + 50); refresh().catch(() => {}); };

  await refresh();
  page.replaceChildren(
    element("h1", {}, "Sweeps"),
    element("p", { class: "quiet" }, "One experiment for each combination of values."),
    element("p", { class: "actions" }, element("a", { class: "button", href: "#/sweeps/new" }, "New sweep")),
    table, empty, more);
  often(refresh, signal);
}
