// @ts-check
// All experiments as a table: filtered, sorted, grouped, with columns of choice.

import { ask, send } from "../server/api.js";
import { print } from "../server/json.js";
import { actions } from "../parts/actions.js";
import { keep } from "../parts/address.js";
import { askedOf, choices as choicesOf, columnsOf, keysOf, writtenKeys } from "../parts/columns.js";
import { choice, element, fill, nameOf, named, problem, refill, title } from "../parts/element.js";
import { ended, STATES } from "../parts/format.js";
import { often } from "../parts/often.js";
import { longTable } from "../parts/rows.js";
import { runs } from "../parts/runs.js";
import { counts } from "../parts/sweeps.js";
import { workers } from "../parts/workers.js";

const ROW_PIXELS = 42, TYPING_MS = 250, AT_ONCE = 4, NEAR = 10, NO_SWEEP = "no sweep";
/** The most that NCORE_MAX_COMPARED can be: an address with many more ids is refused before anybody reads it. */
const MOST_COMPARED = 2000;

/** @typedef {import("../parts/runs.js").Run} Run */
/** @typedef {{ key: string, runs: Run[] }} Group */

/** The groups of a run. @type {Record<string, (run: Run) => string[]>} */
const GROUPS = {
  sweep: (run) => [run.sweep_id ?? NO_SWEEP],
  tag: (run) => (run.tags.length ? run.tags : ["no tag"]),
  name: (run) => [nameOf(run).split(":")[0]],
  status: (run) => [run.status],
};

/** @param {Run[]} all @param {string} by @returns {Group[]} */
function grouped(all, by) {
  /** @type {Map<string, Run[]>} */
  const found = new Map();
  for (const run of all) {
    for (const key of GROUPS[by](run)) {
      const members = found.get(key);
      if (members) members.push(run); else found.set(key, [run]);
    }
  }
  return [...found].map(([key, members]) => ({ key, runs: members }));
}

/** What a group is called: a sweep by its name, with which the names of its runs begin. @param {Group} group @param {string} by */
const calledOf = ({ key, runs: members }, by) => (by === "sweep" && key !== NO_SWEEP ? nameOf(members[0]).split(":")[0] : key);

/** @param {Run[]} all */
const byState = (all) => Object.fromEntries(STATES.map((state) => [state, all.filter((run) => run.status === state).length]));

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search, top }) {
  title("Experiments");
  const state = { q: search.get("q") ?? "", where: search.get("where") ?? (search.get("tag") ? `tag:"${search.get("tag")?.replaceAll('"', '""')}"` : ""), status: search.get("status") ?? "", archived: search.get("archived") ?? "",
    sort: search.get("sort") ?? "", group: search.get("group") ?? "", open: search.getAll("open"),
    columns: keysOf(search.get("columns")) };
  const remember = () => keep({ ...state, columns: writtenKeys(state.columns) });
  const filters = () => Object.fromEntries(Object.entries({ q: state.q, where: state.where, status: state.status, archived: state.archived })
    .filter(([, value]) => value));
  const sortKey = () => state.sort.replace(/^-/, "");
  /** The order in the API's words. @returns {Record<string, string>} */
  const order = () => {
    const falling = state.sort.startsWith("-") ? "-" : "", field = sortKey() === "name" ? "name" : columnsOf([sortKey()])[0].field;
    return state.sort && field ? { sort: `${falling}${field}` } : {};
  };
  /** What the rows on the screen have: the head follows when others have come. */
  let columns = columnsOf(state.columns), sort = state.sort;
  const listed = () => runs({ ...filters(), ...order() }, askedOf(columnsOf(state.columns)), signal);
  let store = listed();
  /** @type {(Run | Group)[]} */
  let lines = [];
  /** @type {Set<string>} */
  const chosen = new Set(), seen = new Set();
  const { note, act } = actions();
  let isRefused = false;  // the query, by the server

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
    } }, named({ name: calledOf(group, state.group), id: "–" }), ` (${group.runs.length.toLocaleString()})`), " ", counts(byState(group.runs)),
    state.group === "sweep" && group.key !== NO_SWEEP ? element("a", { id: `sweep-${group.key}`, href: `#/sweeps/${group.key}`, class: "aside" }, "open the sweep") : null));
  };
  const list = longTable("Experiments", ROW_PIXELS, (index) => {
    const line = lines[index];
    return "runs" in line ? groupLine(line) : runLine(line);
  }, (index) => {
    const line = lines[index], shown = columns.map(({ key }) => key);
    if (!("runs" in line)) return print([shown, line, chosen.has(line.id)]);
    return print([shown.length, line.key, state.open.includes(line.key), byState(line.runs), line.runs.every(({ id }) => chosen.has(id))]);
  }, (first, last) => {
    seen.clear();
    for (const line of lines.slice(first, last)) if ("id" in line) seen.add(line.id);
    if (last > lines.length - NEAR && !store.isComplete()) store.more().then(draw).catch(() => {});
  });

  const empty = element("p", { class: "quiet", hidden: true }), amount = element("p", { class: "quiet", role: "status" });
  /** All that match, also what has not been scrolled to. */
  const chooseAll = async (/** @type {boolean} */ on) => {
    if (on) await store.all(() => fill(many, `${store.items().length.toLocaleString()} read …`)).catch(() => {});
    for (const { id } of store.items()) if (on) chosen.add(id); else chosen.delete(id);
    draw();
    choose();
  };
  let headed = "";
  const drawHead = () => {
    const all = store.items(), isAll = all.length > 0 && all.every(({ id }) => chosen.has(id));
    const fresh = print([columns.map(({ key }) => key), sort, isAll]);
    if (fresh !== headed) refill(list.head, headLine(isAll));
    headed = fresh;
  };
  const headLine = (/** @type {boolean} */ isAll) => element("tr", {},
    element("td", {}, box("choose-all", "choose all", isAll, chooseAll)),
    [{ key: "name", name: "Experiment", kind: "first", field: "name" }, ...columns].map(({ key, name, kind, field }) => {
      if (!field) return element("th", { scope: "col", class: kind || null }, name);
      const sorted = sort.replace(/^-/, "") === key ? (sort.startsWith("-") ? "descending" : "ascending") : null;
      return element("th", { scope: "col", class: kind || null, "aria-sort": sorted }, element("button", { id: `sort-${key}`, class: "plain", onclick: () => {
        state.sort = sorted === "descending" ? "" : sorted ? `-${key}` : key;
        anew();
      } }, name));
    }));
  /** Shows the current state on the screen. */
  const draw = () => {
    const items = store.items();
    lines = GROUPS[state.group] ? grouped(items, state.group).flatMap((group) => [group, ...(state.open.includes(group.key) ? group.runs : [])]) : items;
    drawHead();
    list.resize(lines.length, store.isComplete());
    empty.hidden = items.length > 0 || isRefused;
    list.node.hidden = !items.length;
    fill(empty, Object.keys(filters()).length ? "No experiment matches these filters."
      : element("span", {}, "No experiments yet. ", element("a", { href: "#/new" }, "Start the first one"), "."));
    const words = items.length ? `${items.length.toLocaleString()}${store.isComplete() ? "" : "+"} experiment${items.length === 1 ? "" : "s"}` : "";
    if (amount.textContent !== words) fill(amount, words);  // else it would be read aloud at each refresh
  };
  /** What is grouped has to be known as a whole. */
  const arrange = async () => {
    draw();
    if (state.group) await store.all(draw).catch(() => {});
  };
  /** Shows the fault of a query at its box; the list is not changed. */
  let asked = 0;
  const anew = async () => {
    remember();
    const fresh = listed(), turn = asked += 1;
    try {
      await fresh.more();
      if (turn !== asked) return;  // what was typed since is asked for already
      say(null);
      store = fresh;
      columns = columnsOf(state.columns);
      sort = state.sort;
    } catch (error) {
      if (!signal.aborted && turn === asked) say(/** @type {any} */ (error));
    }
    await arrange();
  };
  const say = (/** @type {any} */ error) => {
    const fault = error?.errors?.find((/** @type {any} */ one) => one.field === "where");
    isRefused = Boolean(error);
    where.setAttribute("aria-invalid", String(Boolean(fault)));
    fill(whereFault, fault?.message ?? "");
    whereFault.hidden = !fault;
    fill(note, error && !fault ? problem(error) : null);
  };
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const soon = () => { clearTimeout(timer); timer = setTimeout(() => anew().catch(() => {}), TYPING_MS); };

  const compare = act("Compare", () => {
    if (chosen.size > MOST_COMPARED) return fill(note, `At most ${MOST_COMPARED.toLocaleString()} experiments can be compared; ${chosen.size.toLocaleString()} are chosen.`);
    location.hash = `/compare?${[...chosen].map((id) => `experiment=${id}`).join("&")}`;
  }, { disabled: true });
  /** What is known of the chosen ones. @returns {[string, Run | undefined][]} */
  const those = () => {
    const known = new Map(store.items().map((run) => [run.id, run]));
    return [...chosen].map((id) => [id, known.get(id)]);
  };
  const idsOf = (/** @type {[string, Run | undefined][]} */ all, /** @type {(run: Run | undefined) => boolean} */ isWanted) => all.filter(([, run]) => isWanted(run)).map(([id]) => id);
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
  const cancel = act("Cancel", () => each("cancelled", idsOf(those(), (run) => !ended(run?.status ?? "running")), (id) => send("POST", `experiments/${id}/cancel`)));
  const archive = act("Archive", () => each("archived", idsOf(those(), (run) => !run?.archived), (id) => send("PATCH", `experiments/${id}`, { archived: true })));
  const tag = act("Tag", async () => {
    const name = prompt("Tag to add to the chosen experiments:")?.trim();
    const known = new Map(those());
    if (name) await each(`tagged ${name}`, [...chosen], async (id) => {
      const tags = known.get(id)?.tags ?? (await ask(`experiments/${id}`)).tags;
      return tags.includes(name) ? null : send("PATCH", `experiments/${id}`, { tags: [...tags, name] });
    });
  });
  const remove = act("Delete", () => each("deleted", idsOf(those(), (run) => run?.status !== "running"), (id) => send("DELETE", `experiments/${id}`)), { class: "danger" });
  const many = element("span", { class: "quiet" });
  const choose = () => {
    compare.disabled = !chosen.size;
    cancel.disabled = archive.disabled = tag.disabled = remove.disabled = !chosen.size;
    fill(many, chosen.size ? `${chosen.size.toLocaleString()} chosen` : "");
  };

  const name_ = element("input", { type: "search", value: state.q, placeholder: "contains", oninput: () => { state.q = name_.value; soon(); } });
  const whereFault = element("p", { id: "where-fault", class: "bad", role: "alert", hidden: true });
  const where = element("input", { type: "search", id: "where", value: state.where, spellcheck: "false", autocapitalize: "off", "aria-describedby": "where-fault",
    placeholder: "nc1.h1 < 1e-6 and tag:paper and not status:failed", oninput: () => { state.where = where.value; soon(); } });
  const archived = element("input", { type: "checkbox", checked: state.archived === "true", onchange: () => { state.archived = archived.checked ? "true" : ""; anew(); } });
  const picker = element("details", { class: "picker", onkeydown: (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") picker.open = false;
  }, ontoggle: async () => {
    if (!picker.open) return;
    fill(choices, (await choicesOf(state.columns)).map((one) => element("label", { class: "row" }, element("input", { type: "checkbox", checked: state.columns.includes(one.key),
      onchange: (/** @type {any} */ event) => {
        state.columns = event.target.checked ? [...state.columns, one.key] : state.columns.filter((key) => key !== one.key);
        anew();
      } }), one.name)));
  } }, element("summary", { class: "button" }, "Columns"));
  const choices = element("div", { class: "choices" });
  picker.append(choices);

  const place = element("section");
  page.replaceChildren(
    element("h1", {}, "Experiments"),
    element("div", { class: "bar", role: "search" },
      element("label", { class: "query" }, "Query", where), element("label", {}, "Name", name_),
      choice("Status", [["", "any"], ...STATES], state.status, (value) => { state.status = value; soon(); }),
      choice("Group by", [["", "nothing"], ...Object.keys(GROUPS)], state.group,
        (value) => { state.group = value; state.open = []; remember(); arrange(); }),
      picker, element("label", { class: "row" }, archived, "archived too"), element("a", { class: "button main", href: "#/new" }, "New experiment")),
    whereFault, element("div", { class: "bar" }, compare, tag, archive, cancel, remove, many), note, amount,
    list.node, empty, place);
  choose();
  await anew();
  while (!isRefused && !store.isComplete() && document.body.scrollHeight < top + innerHeight) {
    await store.more();
    draw();
  }
  addEventListener("scroll", () => list.update(), { signal, passive: true });
  addEventListener("resize", () => list.update(), { signal });
  workers(place, signal).catch(() => {});
  often(async () => {
    const before = store;
    await Promise.all([isRefused ? null : store.refresh(seen), workers(place, signal)]);
    if (store === before) draw();
  }, signal);
}
