// @ts-check
// One sweep: its progress, its picture, and the table of its final values beside what is predicted.

import { ask, download, send } from "../server/api.js";
import { print } from "../server/json.js";
import { actions } from "../parts/actions.js";
import { keep } from "../parts/address.js";
import { element, fill, nameOf, named, problem, refill, title } from "../parts/element.js";
import { time } from "../parts/format.js";
import { often } from "../parts/often.js";
import { dark, draw, theme } from "../parts/picture.js";
import { text } from "../parts/spec.js";
import { NO_LAYER, PAGE, sweepTable } from "../parts/sweep_table.js";
import { axesOf, bar, counts } from "../parts/sweeps.js";

/** What a picture may show beside the metrics. */
const OF_SEEDS = ["verdict", "gap"];
const MOST_ROWS = 2000, MOST_IN_A_CELL = 20;
/** While a sweep runs, its picture is drawn again after REST times the time that drawing took: seconds for a large one. */
const REST = 3;

/** @typedef {import("../parts/sweeps.js").Sweep & { base: any, request: any, selected: number, measured: Record<string, string[]>, items: import("../parts/sweep_table.js").Item[] }} Sweep */

/** @param {Record<string, unknown[]>} axes */
const several = (axes) => Object.keys(axes).filter((path) => axes[path].length > 1);
/** @param {Sweep} sweep */
const left = ({ statuses, refining }) => (statuses.queued ?? 0) + (statuses.running ?? 0) + (refining ? 1 : 0);
/** The axes that a picture can have: of paths that move together the first. @param {Sweep} sweep */
const drawable = ({ axes, request }) => {
  const followers = (request?.zip ?? []).flatMap((/** @type {any} */ group) => Object.keys(group).slice(1));
  return Object.fromEntries(Object.entries(axes).filter(([path]) => !followers.includes(path)));
};

/** A select that is shown where there is something to choose. @param {string} name @param {(value: string) => void} change */
const choice = (name, change) => {
  const select = element("select", { onchange: () => change(select.value) }), label = element("label", { hidden: true }, name, select);
  const offer = (/** @type {(string | [string, string])[]} */ values, /** @type {string} */ chosen, /** @type {string | null} */ first = null) => {
    label.hidden = values.length < 2;
    const texts = JSON.stringify([values, first]);
    if (select.dataset.offered !== texts) {
      select.dataset.offered = texts;
      fill(select, first === null ? null : element("option", { value: "" }, first), values.map((one) => element("option", { value: one instanceof Array ? one[0] : one }, one instanceof Array ? one[1] : one)));
    }
    select.value = chosen;
  };
  return { label, offer };
};

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search, id }) {
  const path = `sweeps/${id}`;
  /** @type {Record<string, any>} */
  const want = { metric: search.get("metric") ?? "", layer: search.get("layer") ?? "", x: search.get("x") ?? "", y: search.get("y") ?? "",
    facet: search.get("facet") ?? "", sort: search.get("sort") ?? "", where: search.get("where") ?? "", offset: Number.parseInt(search.get("offset") ?? "", 10) || 0 };
  /** @type {Record<string, string[]>} */
  const known = {};
  let item = /** @type {Sweep} */ ({});
  /** @type {any} */
  let view = null;
  let picturing = "";

  const head = element("div"), cell = element("div", { role: "status" });
  const { note, act } = actions();
  const picture = element("div", { class: "picture map", tabindex: 0, role: "region", "aria-label": "Picture" });
  const chosen = (/** @type {string} */ name) => (/** @type {string} */ value) => { want[name] = value; anew(); };
  const metric = choice("Metric", chosen("metric")), layer = choice("Layer", chosen("layer"));
  const x = choice("Horizontal axis", chosen("x")), y = choice("Vertical axis", chosen("y")), facet = choice("A panel for each", chosen("facet"));
  const filter = element("input", { id: "where", autocomplete: "off", placeholder: "nc1.h1 < 1e-6 and verdict = zero", onchange: () => {
    want.where = filter.value.trim();
    want.offset = 0;
    anew();
  } });
  filter.value = want.where;
  const rows = sweepTable((offset) => { want.offset = offset; anew(); }, (sort) => { want.sort = sort; want.offset = 0; anew(); });

  const query = (more = {}) => {
    const given = { metric: want.metric, layer: OF_SEEDS.includes(want.metric) ? "" : want.layer, ...more };
    const asked = new URLSearchParams(Object.entries(given).filter(([, value]) => value !== "" && value !== undefined));
    if (asked.get("layer") === NO_LAYER) asked.set("layer", "");
    return asked;
  };
  /** The table has a metric's columns; of the verdict and the gap it has all rows alike. */
  const tableQuery = () => {
    const of = OF_SEEDS.includes(want.metric) ? { metric: "objective", layer: "" } : {};
    return query({ ...of, sort: want.sort, where: want.where, offset: want.offset, limit: PAGE });
  };
  const axesShown = () => {
    const axes = several(drawable(item)), over = want.x || axes[0];
    return { x: over, y: want.y || axes.find((axis) => axis !== over) };
  };
  const offer = () => {
    for (const [name, layers] of Object.entries(item.measured)) known[name] = [...new Set([...known[name] ?? [], ...layers])];
    const axes = several(drawable(item)), own = item.request?.picture ?? {};
    want.metric ||= own.metric ?? "nc1";
    if (!want.x && !want.y && !want.facet) for (const name of ["x", "y", "facet"]) want[name] = own[name] ?? "";
    const metrics = [...OF_SEEDS, ...Object.keys(known)];
    if (Object.keys(known).length && !metrics.includes(want.metric)) want.metric = "nc1" in known ? "nc1" : Object.keys(known)[0];
    const layers = (known[want.metric] ?? []).map((name) => name || NO_LAYER);
    if (known[want.metric] && !layers.includes(want.layer)) want.layer = "";
    metric.offer(Object.keys(known).length ? metrics : [], want.metric);
    layer.offer(layers.map((name) => (name === NO_LAYER ? [NO_LAYER, "none"] : name)), want.layer, "all");
    if (axes.length < 3) return;
    want.x ||= axes[0];
    if (!want.y || want.y === want.x) want.y = axes.find((axis) => axis !== want.x);
    x.offer(axes, want.x);
    y.offer(axes.filter((axis) => axis !== want.x), want.y);
    facet.offer(["", ...axes.filter((axis) => axis !== want.x && axis !== want.y)], want.facet);
  };
  const refresh = async () => {
    const wanted = () => tableQuery().toString(), asked = wanted();
    item = await ask(`${path}?${asked}`, { signal });
    offer();
    if (want.offset >= item.selected) want.offset = 0;
    if (wanted() !== asked) return refresh();
    title(nameOf(item));
    header();
    rows.show(item, /** @type {any} */ (want));
  };

  /** Opens the experiment of a cell or point, or lists them where there are several. @param {any} datum */
  const openCell = async (datum) => {
    if (datum.experiment) {
      location.hash = `/experiments/${datum.experiment}`;
      return;
    }
    const { x: across, y: up } = axesShown();
    const plain = (/** @type {unknown} */ value) => text(value).replace(/[\s'"]/g, "").toLowerCase();  // a picture has Python's texts
    const same = (/** @type {unknown} */ one, /** @type {unknown} */ drawn) => drawn === undefined || plain(one) === plain(drawn)
      || Number(one) === Number(drawn);
    const all = (await ask(`${path}?metric=objective&limit=${MOST_ROWS}`, { signal })).items;
    const found = all.filter((/** @type {any} */ one) => same(one.point[across], datum.x) && (!up || same(one.point[up], datum.y)));
    if (found.length === 1) location.hash = `/experiments/${found[0].experiment}`;
    else if (found.length) {
      fill(cell, element("p", {}, `${found.length} experiments: `, found.slice(0, MOST_IN_A_CELL).flatMap((/** @type {any} */ one) => [
        element("a", { href: `#/experiments/${one.experiment}` }, Object.values(one.point).map(text).join(", ")), " "])));
    }
  };
  const redraw = async () => {
    const options = query({ x: want.x, y: want.y, facet: want.facet, theme: theme() });
    const fresh = `${options} ${item.statuses.succeeded} ${item.statuses.failed} ${innerWidth}`;
    if (fresh === picturing) return;
    if (!item.statuses.succeeded) {
      fill(picture, element("p", { class: "quiet" }, left(item) ? "No experiment has finished yet." : "No experiment has succeeded."));
      return;
    }
    if (!view) fill(picture, element("p", { class: "quiet" }, "Drawing …"));
    const drawing = await ask(`${path}/plot.json?${options}`, { signal, reader: JSON.parse });
    view?.finalize();
    view = null;
    view = await draw(picture, drawing, { names: { ...axesShown(), value: want.metric } });
    view.view.addEventListener("click", (/** @type {Event} */ _, /** @type {any} */ mark) => {
      if (mark?.datum && "x" in mark.datum) openCell(mark.datum).catch(() => {});
    });
    picturing = fresh;
  };
  /** One after another, so that no late answer is shown in the place of a newer one. @type {Promise<void> | null} */
  let working = null;
  let due = false, resting = 0;
  const work = async () => {
    while (due) {
      due = false;
      await refresh();
      const began = performance.now();
      if (began < resting && left(item)) continue;
      await redraw().catch((error) => { if (!signal.aborted) fill(picture, problem(error)); });
      resting = performance.now() + REST * (performance.now() - began);
    }
  };
  const shown = () => {
    due = true;
    return (working ??= work().finally(() => { working = null; }));
  };
  const anew = async () => {
    resting = 0;
    keep({ metric: want.metric, layer: want.layer, x: want.x, y: want.y, facet: want.facet, sort: want.sort, where: want.where,
      offset: want.offset || "" });
    fill(cell);
    await shown().catch((error) => { if (!signal.aborted) fill(note, problem(error)); });
  };

  const cancel = act("Cancel", async () => {
    if (!confirm(`Cancel the ${left(item).toLocaleString()} experiments of ${nameOf(item)} that have not finished?`)) return;
    await send("POST", `${path}/cancel`);
    await shown();
  }, { class: "danger" });
  const buttons = element("p", { class: "actions" },
    act("CSV", () => download(`${path}?format=csv`, `${id}.csv`)),
    act("Parquet", () => download(`${path}?format=parquet`, `${id}.parquet`)),
    act("PDF", () => download(`${path}/plot.pdf?${query({ x: want.x, y: want.y, facet: want.facet })}`, `${id}.pdf`)),
    act("Duplicate", () => {
      sessionStorage.setItem("ncore-sweep", print(item.request ?? { name: item.name, base: item.base, axes: item.axes }));
      location.hash = "/sweeps/new?draft=1";
    }),
    cancel);
  const header = () => {
    cancel.disabled = !left(item);
    /** @type {[string, import("../parts/element.js").Children, string?][]} */
    const facts = [["Progress", bar(item)], ["Experiments", counts(item.statuses)], ["Submitted", time(item.created_at)], ["Axes", axesOf(item.axes), "whole"]];
    refill(head, element("h1", {}, named(item)),
      item.name ? element("p", { class: "quiet" }, element("code", {}, item.id)) : null,
      element("dl", { class: "facts" }, facts.map(([name, value, kind]) =>
        element("div", { class: kind }, element("dt", {}, name), element("dd", {}, value)))));
  };

  await refresh();
  page.replaceChildren(head, buttons, note,
    element("h2", {}, "Final values"),
    element("div", { class: "bar" }, metric.label, layer.label, x.label, y.label, facet.label),
    picture, element("p", { class: "quiet caption" }, "Click a cell or a point to open its experiment."), cell,
    element("h2", {}, "Predicted and measured"),
    element("div", { class: "bar" }, element("label", { class: "query" }, "Only rows where", filter)), rows.node,
    element("details", {}, element("summary", {}, "Base config"), element("pre", { tabindex: 0 }, print(item.base, 2))));
  const again = () => { resting = 0; shown().catch(() => {}); };
  dark.addEventListener("change", again, { signal });
  addEventListener("resize", again, { signal });
  signal.addEventListener("abort", () => view?.finalize());
  often(async () => { if (left(item)) await shown(); }, signal);
  await shown();
}
