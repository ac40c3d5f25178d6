import { ask } from "./server.js";
import { print } from "./json.js";
import { element, nameOf, named, progress, refill, status, tags, time, title } from "./page.js";
import { often } from "./sweeps.js";
import { workers } from "./workers.js";

const STATES = ["queued", "running", "succeeded", "failed", "cancelled"];

export async function list(page, signal, search) {
  title("Experiments");
  const chosen = new Set();
  const rows = element("tbody");
  const more = element("button", { hidden: true }, "Show older");
  const empty = element("p", { class: "quiet", hidden: true });
  const compare = element("button", { disabled: true, onclick: () => {
    location.hash = `/compare?${[...chosen].map((id) => `experiment=${id}`).join("&")}`;
  } }, "Compare chosen");
  const text = element("input", { type: "search", value: search.get("q") ?? "", placeholder: "in the name" });
  const tag = element("input", { type: "search", value: search.get("tag") ?? "" });
  const state = element("select", {}, element("option", { value: "" }, "any"),
    STATES.map((name) => element("option", { value: name, selected: name === search.get("status") }, name)));
  let limit = 50;

  const query = () => {
    const wanted = new URLSearchParams({ limit });
    if (text.value) wanted.set("q", text.value);
    if (tag.value) wanted.set("tag", tag.value);
    if (state.value) wanted.set("status", state.value);
    return wanted;
  };
  const row = (item) => element("tr", {},
    element("td", {}, element("input", { type: "checkbox", id: `choose-${item.id}`, "aria-label": `choose ${nameOf(item)}`,
      checked: chosen.has(item.id), onchange: (event) => {
        if (event.target.checked) chosen.add(item.id); else chosen.delete(item.id);
        compare.disabled = chosen.size < 1;
      } })),
    element("td", {}, element("a", { id: `open-${item.id}`, href: `#/experiments/${item.id}` }, named(item)),
      item.name ? element("div", { class: "quiet" }, element("small", {}, item.id)) : null),
    element("td", {}, status(item.status)),
    element("td", {}, progress(item)),
    element("td", { class: "wide" }, time(item.created_at)),
    element("td", { class: "wide" }, tags(item.tags)));

  let shown = "";
  const refresh = async () => {
    const { items, next_cursor: cursor } = await ask(`experiments?${query()}`, { signal });
    const fresh = print(items);
    if (fresh !== shown) {
      shown = fresh;
      refill(rows, items.map(row));
    }
    more.hidden = !cursor || limit >= 200;
    empty.hidden = items.length > 0;
    empty.replaceChildren(text.value || tag.value || state.value
      ? "No experiment fits these filters."
      : element("span", {}, "Nothing has been run yet. ", element("a", { href: "#/new" }, "Submit the first experiment"), "."));
  };
  const soon = () => refresh().catch(() => {});  // what failed is asked for again at the next tick
  const place = element("section");
  more.onclick = () => { limit = Math.min(200, limit + 50); soon(); };
  for (const field of [text, tag, state]) field.addEventListener("input", soon);

  await refresh();
  page.replaceChildren(
    element("h1", {}, "Experiments"),
    element("div", { class: "bar", role: "search" }, element("label", {}, "Name", text), element("label", {}, "Tag", tag),
      element("label", {}, "Status", state), compare,
      element("a", { class: "button", href: "#/new" }, "New experiment")),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Experiments" }, element("table", {},
      element("thead", {}, element("tr", {},
        element("td"), element("th", {}, "Experiment"), element("th", {}, "Status"),
        element("th", {}, "Progress"), element("th", { class: "wide" }, "Submitted"), element("th", { class: "wide" }, "Tags"))),
      rows)),
    empty, more, place);
  workers(place, signal).catch(() => {});
  often(async () => { await Promise.all([refresh(), workers(place, signal)]); }, signal);
}
