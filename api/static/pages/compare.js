// @ts-check
// Any number of experiments in one picture, and in what they differ.

import { ask, download } from "../server/api.js";
import { actions } from "../parts/actions.js";
import { keep, sections } from "../parts/address.js";
import { choice, element, fill, nameOf, named, problem, table, title } from "../parts/element.js";
import { number, status } from "../parts/format.js";
import { knownColumns } from "../parts/known.js";
import { dark, draw, theme } from "../parts/picture.js";
import { inOrder, text } from "../parts/spec.js";

const OFFERED = 200, TYPING_MS = 250, NARROW_PIXELS = 760, GAP = "gap";
/** @type {[string, string][]} */
const SCALES = [["", "as usual"], ["log", "log"], ["linear", "linear"]];
const FILES = ["csv", "svg", "pdf", "png"];

/** @typedef {import("../parts/spec.js").Experiment} Experiment */
/** @typedef {{ metric: string, layer: string | null, mean: number | null, low: number | null, high: number | null, predicted: number | null,
 *   predicted_name: string | null, best_known: number | null }} SideValue */
/** @typedef {{ id: string, name: string, label: string, status: string, point: Record<string, unknown>, values: SideValue[] }} Side */
/** @typedef {{ parameters: string[], measured: Record<string, string[]>, items: Side[] }} Sides */

/** @type {Sides} */
const NONE = { parameters: [], measured: {}, items: [] };
const keyOf = (/** @type {SideValue} */ one) => (one.layer ? `${one.metric} ${one.layer}` : one.metric);

/** In what they differ, and the last values of the metrics. @param {Sides} sides @param {Set<string>} hidden @param {(label: string) => void} toggle */
function differences({ parameters, items }, hidden, toggle) {
  const keys = [...new Set(items.flatMap(({ values }) => values.map(keyOf)))];
  const all = items.flatMap(({ values }) => values);
  /** The columns of known values that a metric has, each with its heading. @param {string} key @returns {[string, (one: SideValue | undefined) => import("../parts/element.js").Child][]} */
  const known = (key) => knownColumns(all.filter((one) => keyOf(one) === key));
  /** @type {[string, string?][]} */
  const columns = [["Shown"], ["Experiment"], ["Status"], ...parameters.map((path) => /** @type {[string]} */ ([path])),
    ...keys.flatMap((key) => /** @type {[string, string][]} */ ([[key, "number"], ...known(key).map(([name]) => [name, "number"])]))];
  return table("Differences and final values", columns, items.map((item) => {
    const values = new Map(item.values.map((one) => [keyOf(one), one]));
    const cell = (/** @type {number | null | undefined} */ value) => element("td", { class: "number" }, number(value));
    return element("tr", {},
      element("td", {}, element("input", { type: "checkbox", checked: !hidden.has(item.label), "aria-label": `show ${item.label}`, onchange: () => toggle(item.label) })),
      element("td", { class: "first" }, element("a", { href: `#/experiments/${item.id}` }, named(item))), element("td", {}, status(item.status)),
      parameters.map((path) => element("td", {}, text(item.point[path] ?? undefined))),
      keys.flatMap((key) => [cell(values.get(key)?.mean), ...known(key).map(([, shown]) => element("td", { class: "number" }, shown(values.get(key))))]));
  }));
}

/** Boxes to choose some of the names. @param {string} legend @param {string[]} names @param {(name: string) => boolean} isOn @param {(name: string, on: boolean) => void} change */
const chips = (legend, names, isOn, change) => element("fieldset", { class: "chips", hidden: names.length < 2 }, element("legend", {}, legend),
  names.map((name) => element("label", { class: "row" }, element("input", { type: "checkbox", checked: isOn(name),
    onchange: (/** @type {any} */ event) => change(name, event.target.checked) }), name)));

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search }) {
  title("Compare");
  const chosen = new Set(search.getAll("experiment"));
  const state = { metric: search.getAll("metric"), layer: search.getAll("layer"), over: search.get("over") ?? search.get("x") ?? "step",
    color: search.get("color") ?? "", steps: search.get("steps") ?? "", values: search.get("values") ?? "" };
  if (!state.metric.length) state.metric = ["nc1"];
  const hidden = new Set(search.getAll("hide"));
  const picture = element("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Comparison" });
  const differ = element("div"), offers = element("div", { class: "offers" }), metrics = element("div"), layers = element("div");
  const colors = element("span"), { note, act } = actions();
  const files = FILES.map((form) => act(form.toUpperCase(), () => download(`compare.${form}?${query(seen())}`, `comparison.${form}`), { disabled: true }));
  /** @type {any} */
  let view = null;
  /** @type {Sides} */
  let sides = NONE;
  const { open, kept } = sections(search, signal, () => remember());
  if (!chosen.size) open.add("experiments");
  const remember = () => keep({ experiment: [...chosen], ...state, find: find.value, open: [...open], metric: state.metric.join() === "nc1" ? [] : state.metric,
    over: state.over === "step" ? "" : state.over, hide: [...hidden] });
  const changed = () => { remember(); return redraw(); };
  const set = (/** @type {"over" | "color" | "steps" | "values"} */ name) => (/** @type {string} */ value) => { state[name] = value; changed(); };
  const toggle = (/** @type {string} */ value) => { if (!hidden.delete(value)) hidden.add(value); changed(); };

  /** What is seen, but for the theme: files are for paper. @param {Iterable<string>} ids */
  const query = (ids) => {
    const wanted = new URLSearchParams({ x: state.over, columns: innerWidth < NARROW_PIXELS ? "1" : "2" });
    if (state.color) wanted.set("color", state.color);
    if (state.steps) wanted.set("xscale", state.steps);
    if (state.values) wanted.set("yscale", state.values);
    for (const name of state.metric) wanted.append("metric", name);
    for (const layer of state.layer) wanted.append("layer", layer);
    for (const id of ids) wanted.append("experiment", id);
    return wanted;
  };
  const offerChoices = () => {
    const known = [...new Set([...state.metric, ...Object.keys(sides.measured), ...("objective" in sides.measured ? [GAP] : [])])];
    const summary = element("summary", {}, `Metrics: ${state.metric.join(", ")}`);
    fill(metrics, kept("metrics", element("details", {}, summary, chips("Metrics", known, (name) => state.metric.includes(name), (name, on) => {
      const left = on ? [...state.metric, name] : state.metric.filter((one) => one !== name);
      state.metric = left.length ? left : [name];
      changed();
    }))));
    const met = inOrder([...new Set(state.metric.flatMap((name) => sides.measured[name] ?? []))]);
    fill(layers, chips("Layers", met, (name) => !state.layer.length || state.layer.includes(name), (name, on) => {
      const now = new Set(state.layer.length ? state.layer : met);
      if (on) now.add(name); else now.delete(name);
      state.layer = now.size === met.length ? [] : met.filter((one) => now.has(one));
      changed();
    }));
    fill(colors, choice("Colour", [["", "automatic"], ["experiment", "each its own"], .../** @type {[string, string][]} */ (sides.parameters.map((path) => [path, path]))], state.color, set("color")));
  };

  /** The last one asked for is drawn, however long others took. */
  let asked = 0;
  const redraw = async () => {
    const mine = ++asked;
    if (!chosen.size) {
      view?.finalize();
      view = null;
      fill(differ);
      sides = NONE;
      offerFiles();
      return fill(picture, element("p", { class: "quiet" }, "Choose experiments below."));
    }
    const some = new URLSearchParams([...chosen].map((id) => ["experiment", id]));
    for (const name of state.metric) if (name !== GAP) some.append("metric", name);
    for (const layer of state.layer) some.append("layer", layer);
    try {
      const [drawn, found] = await Promise.all([ask(`compare.json?${query(chosen)}&theme=${theme()}`, { signal, reader: JSON.parse }), ask(`compare?${some}`, { signal })]);
      if (mine !== asked) return;
      sides = found;
      offerFiles();
      const drawnAnew = await draw(picture, drawn, { hidden, toggle });
      view?.finalize();
      view = drawnAnew;
      offerChoices();
      fill(differ, differences(sides, hidden, toggle));
    } catch (error) {
      if (!signal.aborted && mine === asked) fill(picture, problem(/** @type {Error} */ (error)));
    }
  };
  /** The visible part, without what is hidden. */
  const seen = () => sides.items.filter(({ label }) => !hidden.has(label)).map(({ id }) => id);
  const offerFiles = () => { for (const button of files) button.disabled = !seen().length; };

  const offer = async (/** @type {string} */ q) => {
    const wanted = new URLSearchParams({ limit: String(OFFERED), ...(q ? { q } : {}) });
    for (const column of ["name", "status"]) wanted.append("columns", column);
    /** @type {Experiment[]} */
    const items = (await ask(`experiments?${wanted}`, { signal })).items;
    fill(offers, items.length ? items.map((item) => element("div", {}, element("label", { class: "row" },
      element("input", { type: "checkbox", "aria-label": `compare ${nameOf(item)}`, checked: chosen.has(item.id), onchange: (/** @type {any} */ event) => {
        if (event.target.checked) chosen.add(item.id); else chosen.delete(item.id);
        changed();
      } }), named(item), element("span", { class: "quiet" }, item.status))))
      : element("p", { class: "quiet" }, q ? "No experiment matches." : "No experiments yet."));
  };
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const find = element("input", { type: "search", placeholder: "contains", value: search.get("find") ?? "", oninput: () => {
    remember();
    clearTimeout(timer);
    timer = setTimeout(() => offer(find.value).catch(() => {}), TYPING_MS);
  } });

  await offer(find.value);
  offerChoices();
  page.replaceChildren(element("h1", {}, "Compare"), metrics, layers,
    element("div", { class: "bar" }, choice("Horizontal axis", [["step", "step"], ["fraction", "share of the run"]], state.over, set("over")),
      choice("Steps", SCALES, state.steps, set("steps")), choice("Values", SCALES, state.values, set("values")), colors,
      files),
    note, picture, element("p", { class: "quiet caption" }, "Dotted: predicted, f* where it is proven to be the minimum; dashed: best known. A click on an entry of the legend hides it."), differ,
    kept("experiments", element("details", {}, element("summary", {}, "Experiments"), element("label", {}, "Name", find), offers)));
  dark.addEventListener("change", () => redraw(), { signal });
  addEventListener("resize", () => redraw(), { signal });
  signal.addEventListener("abort", () => view?.finalize());
  await redraw();
}
