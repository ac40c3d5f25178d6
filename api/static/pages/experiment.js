// @ts-check
// One experiment: its result, its curves beside what is predicted, its config, log and artifacts.

import { ask, download, listen, send } from "../server/api.js";
import { print } from "../server/json.js";
import { actions } from "../parts/actions.js";
import { annotations } from "../parts/annotations.js";
import { keep, sections } from "../parts/address.js";
import { copy, select } from "../parts/clipboard.js";
import { comparison } from "../parts/comparison.js";
import { curves } from "../parts/curves.js";
import { depth } from "../parts/depth.js";
import { element, fill, nameOf, problem, table, title } from "../parts/element.js";
import { duration, ended, number, progress, retried, status, time } from "../parts/format.js";
import { geometry } from "../parts/geometry.js";
import { artifacts, logs } from "../parts/logs.js";
import { finals } from "../parts/spec.js";
import { specTable } from "../parts/spec_table.js";
import { verdictList } from "../parts/verdicts.js";

const REDRAW_MS = 250, PLACE_MS = 2000;

/** @typedef {import("../parts/spec.js").Experiment} Experiment */

/** @param {Experiment} item */
const facts = (item) => {
  const took = item.started_at && item.finished_at ? duration((Date.parse(item.finished_at) - Date.parse(item.started_at)) / 1000) : "–";
  /** @type {[string, import("../parts/element.js").Child][]} */
  const all = [["Status", status(item.status)], ["Progress", progress(item)], ["Submitted", time(item.created_at)],
    ["Started", time(item.started_at)], ["Finished", time(item.finished_at)], ["Duration", took], ["Attempt", item.attempt || "–"],
    ["Worker", item.worker ?? "–"], ["Device", item.device ?? "–"], ["Method", item.result?.engine?.replaceAll("_", " ") ?? "–"]];
  return element("dl", { class: "facts" }, all.filter(([, value]) => value !== "–")
    .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
};

/** Final values, a column for each layer. @param {Experiment} item */
function finalValues(item) {
  const found = [...finals(item.result).values()];
  if (!found.length) return null;
  const metrics = [...new Set(found.map((one) => one.metric))], several = item.result?.final.length ?? 0;
  const row = (/** @type {string} */ metric) => found.filter((one) => one.metric === metric).map((one, i) => element("tr", {},
    element("th", { scope: "row" }, i ? "" : metric), element("td", {}, one.layer ?? ""),
    element("td", { class: "number" }, number(one.mean, 8)),
    several > 1 ? element("td", { class: "number wide" }, one.low === one.high ? "–" : `${number(one.low)} … ${number(one.high)}`) : null));
  return element("details", {}, element("summary", {}, "Final values"),
    table("Final values", [["Metric"], ["Layer"], [several > 1 ? "Mean over seeds" : "Value", "number"],
      .../** @type {[string, string?][]} */ (several > 1 ? [["Range over seeds", "number wide"]] : [])], metrics.map(row)));
}

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search, id }) {
  const path = `experiments/${id}`;
  /** @type {Experiment} */
  let item = await ask(path, { signal });
  const json = () => print(item.spec, 2);
  title(nameOf(item));

  const state = { panel: search.get("panel") ?? "", layer: search.getAll("layer"), seed: search.get("seed") ?? "", x: search.get("x") ?? "log",
    y: search.get("y") ?? "log", hide: search.getAll("hide"), range: search.get("range") ?? "", preset: search.get("preset") ?? "" };
  const over = { metric: search.get("depth") ?? "nc1", at: search.get("at") ?? "" };
  const shaped = { geometry: search.get("geometry") ?? "", geometry_seed: search.get("geometry_seed") ?? "" };
  const compared = { seeds: search.get("seeds") ?? "" };
  const remember = () => keep({ ...state, ...shaped, ...compared, open: [...opened], x: state.x === "log" ? "" : state.x, y: state.y === "log" ? "" : state.y,
    depth: over.metric === "nc1" ? "" : over.metric, at: over.at });
  const { open: opened, kept } = sections(search, signal, () => remember());

  const place = element("p", { class: "quiet", role: "status", hidden: true });
  /** While it is queued: how many come before it, and when it is expected to start. */
  const wait = async () => {
    while (item.status === "queued" && !signal.aborted) {
      const { before, starts_in_seconds: seconds } = await ask(`${path}/place`, { signal }).catch(() => ({ before: null }));
      place.hidden = before === null;
      if (before !== null) {
        fill(place, Number(before) ? `${before} before it in the queue.` : "Next in the queue.",
          Number(seconds ?? 0) > 1 ? ` It starts in about ${duration(Number(seconds))}.` : null);
      }
      await new Promise((resolve) => setTimeout(resolve, PLACE_MS));
    }
    place.hidden = true;
  };
  const result = element("div"), values = element("div");
  const { note, act } = actions();
  const about = annotations(path, (fresh) => { item = fresh; header(); later(); }, act);
  const picture = curves(path, signal, item, state, () => { remember(); later(); });
  const layers = depth(path, signal, over, remember);
  const theory = comparison(compared, remember), shape = geometry(path, signal, item, shaped, remember), log = logs(path, signal), files = artifacts(path, signal);
  kept("log", log.node);
  kept("files", files.node);
  const pre = element("pre", { tabindex: 0 }, json());
  const config = element("details", { ontoggle: async () => {
    if (config.open && !config.querySelector("table")) {
      config.insertBefore(await specTable(item.spec, state.preset, (name) => { state.preset = name; remember(); }), written);
    }
  } }, element("summary", {}, "Config"));
  const written = element("details", {}, element("summary", {}, "as JSON"), pre);
  config.append(written);
  if (state.preset) opened.add("config");
  kept("config", config);

  const cancel = act("Cancel", async () => { item = await send("POST", `${path}/cancel`) ?? item; header(); });
  const retry = act("Retry", async () => { item = await send("POST", `${path}/retry`) ?? item; header(); follow(); wait(); });
  const remove = act("Delete", async () => {
    if (!confirm(`Delete ${nameOf(item)}, its measurements and its artifacts?`)) return;
    await send("DELETE", path);
    location.hash = "/";
  }, { class: "danger" });
  const buttons = element("p", { class: "actions" }, about.edit, cancel, retry,
    act("Duplicate", () => { sessionStorage.setItem("ncore-draft", json()); location.hash = "/new?draft=1"; }),
    act("Copy config", async () => {
      if (await copy(json())) return fill(note, "Config copied.");
      config.open = written.open = true;
      select(pre);
      fill(note, "This browser does not let a page copy. The config is selected: press Ctrl+C.");
    }),
    act("CSV", () => download(`${path}/metrics?format=csv`, `${id}.csv`)),
    act("PDF", () => download(`${path}/plot.pdf?${picture.query()}`, `${id}.pdf`)),
    act("Export", () => download(`${path}/export.zip`, `${id}.zip`)),
    about.archive, remove);
  const header = () => {
    cancel.disabled = ended(item.status);
    retry.disabled = !retried(item.status);
    remove.disabled = item.status === "running";
    about.show(/** @type {any} */ (item));
    fill(result, item.result?.verdict.length ? verdictList(item.result.verdict) : null,
      item.error ? element("p", { class: "errors", role: "alert" }, item.error) : null, facts(item));
    fill(values, kept("values", finalValues(item)));
    picture.measured(item.result);
  };

  const redraw = async () => {
    const style = await picture.redraw();
    await layers.refresh(picture.layersOf(), style);
  };
  const compareTheory = async () => {
    const found = await ask(`${path}/theory`, { signal });
    picture.compared(found.comparison);
    theory.show(found);
  };
  /** Says what cannot be drawn or predicted; the rest of the page is not changed. */
  const drawAll = async () => {
    const failed = (await Promise.allSettled([compareTheory(), redraw()])).find((one) => one.status === "rejected");
    if (failed && !signal.aborted) fill(note, problem(failed.reason));
  };
  // The first change is drawn at once, what comes meanwhile together a little later.
  let drawing = false, due = false;
  const later = async () => {
    due = true;
    if (drawing) return;
    drawing = true;
    while (due && !signal.aborted) {
      due = false;
      await drawAll();
      await new Promise((resolve) => setTimeout(resolve, REDRAW_MS));
    }
    drawing = false;
  };
  const follow = () => listen(`${path}/events`, signal, async (type, data) => {
    if (type === "measurement") {
      later();
      shape.refresh();
    }
    if (type === "status") {
      if (data.status !== item.status) log.refresh();
      if (data.updated_at !== /** @type {any} */ (item).updated_at) item = await ask(path, { signal }).catch(() => item);
      item = { ...item, ...data };
      header();
    }
    if (type === "end") {
      item = await ask(path, { signal }).catch(() => item);
      header();
      later();
      shape.refresh(true);
      log.refresh();
      files.refresh();
    }
  });

  header();
  page.replaceChildren(about.head, buttons, note, about.notes, place, result,
    element("h2", {}, "Curves"), picture.node,
    element("h2", {}, "Predicted and measured"), theory.node, values,
    layers.node, shape.node, config, files.node, log.node);
  picture.anew(later);
  wait();
  const before = item.status;  // it may end while the first picture is drawn, and then that shows too little
  await drawAll();
  if (!ended(before)) follow();
  // What has ended sends no events any more: notes that were written elsewhere are seen when one comes back.
  document.addEventListener("visibilitychange", async () => {
    if (document.hidden || !ended(item.status)) return;
    item = await ask(path, { signal }).catch(() => item);
    header();
  }, { signal });
}
