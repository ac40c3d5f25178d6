// @ts-check
// All experiments as a table: filtered, sorted, grouped, with columns of choice.

import { send } from "../server/api.js";
import { actions } from "../parts/actions.js";
import { keep } from "../parts/address.js";
import { columnsOf, largeOf, order, STANDARD } from "../parts/columns.js";
import { choice, element, fill, nameOf, named, refill, title } from "../parts/element.js";
import { ended, STATES } from "../parts/format.js";
import { often } from "../parts/often.js";
import { longTable } from "../parts/rows.js";
import { runs } from "../parts/runs.js";
import { counts } from "../parts/sweeps.js";
import { workers } from "../parts/workers.js";

const ROW_PIXELS = 42, TYPING_MS = 250, MOST_COMPARED = 20, AT_ONCE = 4, NEAR = 30, LARGE_PAGE = 200;

/** @typedef {import("../parts/runs.js").Run} Run */
/** @typedef {{ key: string, runs: Run[] }} Group */

/** The groups of a run. @type {Record<string, (run: Run) => string[]>} */
const GROUPS = {
  tag: (run) => (run.tags.length ? run.tags : ["no tag"]),
  name: (run) => [nameOf(run).split(":")[0]],
  status: (run) => [run.status],
};

/** @param {Run[]} all @param {string} by @returns {Group[]} */
function grouped(all, by) {
  /** @type {Map<string, Run[]>} */
  const found = new Map();
  for (const run of all) for (const key of GROUPS[by](run)) found.set(key, [...found.get(key) ?? [], run]);
  return [...found].map(([key, members]) => ({ key, runs: members }));
}

/** @param {Run[]} all */
const byState = (all) => Object.fromEntries(STATES.map((state) => [state, all.filter((run) => run.status === state).length]));

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search, top }) {
  title("Experiments");
  const state = { q: search.get("q") ?? "", tag: search.get("tag") ?? "", status: search.get("status") ?? "",
    sort: search.get("sort") ?? "", group: search.get("group") ?? "", open: search.getAll("open"),
    columns: search.get("columns")?.split(",") ?? STANDARD };
  const remember = () => keep({ ...state, columns: state.columns.join() === STANDARD.join() ? "" : state.columns.join() });
  const filters = () => Object.fromEntries(Object.entries({ q: state.q, tag: state.tag, status: state.status }).filter(([, value]) => value));

  let store = runs(filters(), largeOf(state.columns), signal);
  /** @type {(Run | Group)[]} */
  let lines = [];
  /** @type {Set<string>} */
  const chosen = new Set(), seen = new Set();
  const { note, act } = actions();

  const allColumns = () => columnsOf(store.items(), state.columns);
  const shownColumns = () => {
    const all = allColumns();
    return state.columns.flatMap((key) => all.find((one) => one.key === key) ?? []);
  };
  let columns = shownColumns();

  const box = (/** @type {string} */ id, /** @type {string} */ label, /** @type {boolean} */ checked, /** @type {(on: boolean) => void} */ change) =>
    element("input", { type: "checkbox", id, "aria-label": label, checked, onchange: (/** @type {any} */ event) => { change(event.target.checked); choose(); } });
  const runLine = (/** @type {Run} */ run) => element("tr", {},
    element("td", {}, box(`choose-${run.id}`, `choose ${nameOf(run)}`, chosen.has(run.id), (on) => { if (on) chosen.add(run.id); else chosen.delete(run.id); })),
    element("td", { class: "first" }, element("a", { id: `open-${run.id}`, href: `#/experiments/${run.id}`, title: run.id }, named(run))),
    columns.map((one) => element("td", { class: one.kind || null }, one.cell(run))));
  const groupLine = (/** @type {Group} */ group) => {
    const open = state.open.includes(group.key);
    return element("tr", { class: "group" }, element("td", {}, box(`choose-group-${group.key}`, `choose group ${group.key}`, group.runs.every(({ id }) => chosen.has(id)),
      (on) => { for (const { id } of group.runs) if (on) chosen.add(id); else chosen.delete(id); draw(); })),
    element("td", { colspan: columns.length + 1 }, element("button", { id: `group-${group.key}`, class: "plain", "aria-expanded": String(open), onclick: () => {
      state.open = open ? state.open.filter((one) => one !== group.key) : [...state.open, group.key];
      remember();
      draw();
    } }, named({ name: group.key, id: "–" }), ` (${group.runs.length.toLocaleString()})`), " ", counts(byState(group.runs))));
  };
  const list = longTable("Experiments", ROW_PIXELS, (index) => {
    const line = lines[index];
    return "runs" in line ? groupLine(line) : runLine(line);
  }, (first, last) => {
    seen.clear();
    for (const line of lines.slice(first, last)) if ("id" in line) seen.add(line.id);
    if (last > lines.length - NEAR && !store.isComplete()) store.more().then(draw).catch(() => {});
  });

  const empty = element("p", { class: "quiet", hidden: true }), amount = element("p", { class: "quiet", role: "status" });
  const drawHead = () => refill(list.head, element("tr", {},
    element("td", {}, box("choose-all", "choose all", store.items().length > 0 && store.items().every(({ id }) => chosen.has(id)), (on) => { for (const { id } of store.items()) if (on) chosen.add(id); else chosen.delete(id); draw(); })),
    [{ key: "name", name: "Experiment", kind: "first" }, ...columns].map(({ key, name, kind }) => {
      const sorted = state.sort.replace("-", "") === key ? (state.sort.startsWith("-") ? "descending" : "ascending") : null;
      return element("th", { scope: "col", class: kind || null, "aria-sort": sorted }, element("button", { id: `sort-${key}`, class: "plain", onclick: () => {
        state.sort = sorted === "descending" ? "" : sorted ? `-${key}` : key;
        remember();
        arrange();
      } }, name));
    })));
  /** Puts what is known onto the screen. */
  const draw = () => {
    const items = store.items(), falling = state.sort.startsWith("-"), key = state.sort.replace("-", "");
    columns = shownColumns();
    const by = key === "name" ? { key, name: "", value: nameOf, cell: nameOf } : allColumns().find((one) => one.key === key);
    const sorted = by ? items.toSorted(order(by, falling)) : items;
    lines = GROUPS[state.group] ? grouped(sorted, state.group).flatMap((group) => [group, ...(state.open.includes(group.key) ? group.runs : [])]) : sorted;
    drawHead();
    list.resize(lines.length, store.isComplete());
    empty.hidden = items.length > 0;
    list.node.hidden = !items.length;
    fill(empty, Object.keys(filters()).length ? "No experiment matches these filters."
      : element("span", {}, "No experiments yet. ", element("a", { href: "#/new" }, "Start the first one"), "."));
    const words = items.length ? `${items.length.toLocaleString()}${store.isComplete() ? "" : "+"} experiment${items.length === 1 ? "" : "s"}` : "";
    if (amount.textContent !== words) fill(amount, words);  // else it would be read aloud at each refresh
  };
  /** What is sorted or grouped has to be known as a whole. */
  const arrange = async () => {
    draw();
    if (state.sort || state.group) await store.all(draw).catch(() => {});
  };
  const anew = async () => {
    remember();
    store = runs(filters(), picker.open ? ["spec", "result"] : largeOf(state.columns), signal);
    await store.more();
    await arrange();
  };
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const soon = () => { clearTimeout(timer); timer = setTimeout(() => anew().catch(() => {}), TYPING_MS); };

  const compare = element("button", { disabled: true, onclick: () => { location.hash = `/compare?${[...chosen].map((id) => `experiment=${id}`).join("&")}`; } }, "Compare");
  const known = (/** @type {string} */ id) => store.items().find((run) => run.id === id);
  /** One request each, a few at once; what fails is counted. */
  const each = async (/** @type {string} */ verb, /** @type {string[]} */ ids, /** @type {(id: string) => Promise<unknown>} */ work) => {
    if (!ids.length) return fill(note, `None of the chosen experiments can be ${verb}.`);
    if (!confirm(`${ids.length.toLocaleString()} experiment${ids.length === 1 ? "" : "s"} will be ${verb}. Go on?`)) return;
    const waiting = [...ids];
    /** @type {Error[]} */
    const failed = [];
    const worker = async () => {
      for (let id = waiting.shift(); id; id = waiting.shift()) {
        await work(id).catch((error) => failed.push(error));
        fill(note, `${(ids.length - waiting.length - failed.length).toLocaleString()} of ${ids.length.toLocaleString()} ${verb}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    chosen.clear();
    await anew();
    choose();
    if (failed.length) throw new Error(`${failed.length} could not be ${verb}: ${failed[0].message}`);
    fill(note, `${ids.length.toLocaleString()} ${verb}.`);
  };
  const cancel = act("Cancel", () => each("cancelled", [...chosen].filter((id) => !ended(known(id)?.status ?? "running")), (id) => send("POST", `experiments/${id}/cancel`)));
  const remove = act("Delete", () => each("deleted", [...chosen].filter((id) => known(id)?.status !== "running"), (id) => send("DELETE", `experiments/${id}`)), { class: "danger" });
  const many = element("span", { class: "quiet" });
  const choose = () => {
    compare.disabled = !chosen.size || chosen.size > MOST_COMPARED;
    cancel.disabled = remove.disabled = !chosen.size;
    fill(many, chosen.size ? `${chosen.size.toLocaleString()} chosen` : "");
  };

  const search_ = (/** @type {"q" | "tag"} */ name, /** @type {string} */ placeholder) => {
    const input = element("input", { type: "search", value: state[name], placeholder, oninput: () => { state[name] = input.value; soon(); } });
    return input;
  };
  const picker = element("details", { class: "picker", onkeydown: (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") picker.open = false;
  }, ontoggle: async () => {
    if (!picker.open) return;
    if (store.large.length < 2) await anew().catch(() => {});  // what can be chosen is known from configs and results
    fill(choices, allColumns().map((one) => element("label", { class: "row" }, element("input", { type: "checkbox", checked: state.columns.includes(one.key),
      onchange: (/** @type {any} */ event) => {
        state.columns = event.target.checked ? [...state.columns, one.key] : state.columns.filter((key) => key !== one.key);
        remember();
        draw();
      } }), one.name)));
  } }, element("summary", { class: "button" }, "Columns"));
  const choices = element("div", { class: "choices" });
  picker.append(choices);

  await store.more();
  const place = element("section");
  page.replaceChildren(
    element("h1", {}, "Experiments"),
    element("div", { class: "bar", role: "search" },
      element("label", {}, "Name", search_("q", "contains")), element("label", {}, "Tag", search_("tag", "exactly")),
      choice("Status", [["", "any"], ...STATES], state.status, (value) => { state.status = value; soon(); }),
      choice("Group by", [["", "nothing"], ...Object.keys(GROUPS)], state.group,
        (value) => { state.group = value; state.open = []; remember(); arrange(); }),
      picker, element("a", { class: "button", href: "#/new" }, "New experiment")),
    element("div", { class: "bar" }, compare, cancel, remove, many), note, amount,
    list.node, empty, place);
  choose();
  await arrange();
  while (!store.isComplete() && document.body.scrollHeight < top + innerHeight) {
    await store.more(LARGE_PAGE);
    draw();
  }
  addEventListener("scroll", () => list.update(), { signal, passive: true });
  addEventListener("resize", () => list.update(), { signal });
  workers(place, signal).catch(() => {});
  often(async () => {
    const before = store;
    await Promise.all([store.refresh(seen), workers(place, signal)]);
    if (store === before) draw();
  }, signal);
}
