// @ts-check
// One metric of several experiments in one picture, and in what they differ.

import { ask } from "../server/api.js";
import { keep } from "../parts/address.js";
import { choice, element, fill, nameOf, named, problem, table, title } from "../parts/element.js";
import { number, status } from "../parts/format.js";
import { dark, draw, isLog, theme } from "../parts/picture.js";
import { differing, finals, leaves, text } from "../parts/spec.js";

const METRICS = ["nc1", "nc1_trace", "nc2_of", "nc2_etf", "nc3", "nc3_centered", "nc4", "cdnv", "objective", "loss", "accuracy",
  "test_loss", "test_accuracy", "grad_norm", "batch_grad_norm"];
const OFFERED = 200, MOST = 20, TYPING_MS = 250;

/** @typedef {import("../parts/spec.js").Experiment} Experiment */

/** In what they differ, and the final values of the metric. @param {Experiment[]} all @param {string} metric */
function differences(all, metric) {
  const specs = all.map(({ spec }) => leaves(spec)), values = all.map(({ result }) => finals(result));
  const paths = differing(specs).filter((path) => path !== "name" && path !== "tags");
  const keys = [...new Set(values.flatMap((found) => [...found].filter(([, one]) => one.metric === metric).map(([key]) => key)))];
  /** @type {[string, string?][]} */
  const columns = [["Experiment"], ["Status"], ...paths.map((path) => /** @type {[string]} */ ([path])), ...keys.map((key) => /** @type {[string, string]} */ ([key, "number"]))];
  return table("Differences and final values", columns, all.map((item, i) => element("tr", {},
    element("td", {}, element("a", { href: `#/experiments/${item.id}` }, named(item))), element("td", {}, status(item.status)),
    paths.map((path) => element("td", {}, text(specs[i][path]))),
    keys.map((key) => element("td", { class: "number" }, number(values[i].get(key)?.mean))))));
}

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search }) {
  title("Compare");
  const chosen = new Set(search.getAll("experiment"));
  const state = { metric: search.get("metric") ?? "nc1", over: search.get("over") ?? search.get("x") ?? "step", layer: search.getAll("layer"),
    x: search.get("steps") ?? "log", y: search.get("values") ?? "log" };
  const picture = element("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Comparison" });
  const differ = element("div"), offers = element("div", { class: "offers" });
  /** @type {any} */
  let view = null;
  const remember = () => keep({ experiment: [...chosen], metric: state.metric, layer: state.layer, over: state.over === "step" ? "" : state.over,
    steps: state.x === "log" ? "" : state.x, values: state.y === "log" ? "" : state.y });
  const set = (/** @type {"metric" | "over" | "x" | "y"} */ name) => (/** @type {string} */ value) => { state[name] = value; remember(); redraw(); };
  const steps = choice("Steps", ["log", "linear"], state.x, set("x")), values = choice("Values", ["log", "linear"], state.y, set("y"));

  const redraw = async () => {
    view?.finalize();
    view = null;
    fill(differ);
    if (!chosen.size) return fill(picture, element("p", { class: "quiet" }, "Choose experiments below."));
    const wanted = new URLSearchParams({ metric: state.metric, x: state.over, theme: theme() });
    for (const id of chosen) wanted.append("experiment", id);
    for (const layer of state.layer) wanted.append("layer", layer);
    try {
      const [drawn, ...items] = await Promise.all([ask(`compare.json?${wanted}`, { signal, reader: JSON.parse }),
        ...[...chosen].map((id) => ask(`experiments/${id}`, { signal }))]);
      steps.hidden = !isLog(drawn, "x");
      values.hidden = !isLog(drawn, "y");
      view = await draw(picture, drawn, { axes: state });
      fill(differ, differences(items, state.metric));
    } catch (error) {
      if (!signal.aborted) fill(picture, problem(/** @type {Error} */ (error)));
    }
  };

  const offer = async (/** @type {string} */ q) => {
    const query = new URLSearchParams({ limit: String(OFFERED), ...(q ? { q } : {}) });
    for (const column of ["name", "status"]) query.append("columns", column);
    /** @type {Experiment[]} */
    const items = (await ask(`experiments?${query}`, { signal })).items;
    fill(offers, items.length ? items.map((item) => element("div", {}, element("label", { class: "row" },
      element("input", { type: "checkbox", "aria-label": `compare ${nameOf(item)}`, checked: chosen.has(item.id), onchange: (/** @type {any} */ event) => {
        if (event.target.checked && chosen.size >= MOST) { event.target.checked = false; return; }
        if (event.target.checked) chosen.add(item.id); else chosen.delete(item.id);
        remember();
        redraw();
      } }), named(item), element("span", { class: "quiet" }, item.status))))
      : element("p", { class: "quiet" }, q ? "No experiment matches." : "No experiments yet."));
  };
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const find = element("input", { type: "search", placeholder: "contains", oninput: () => {
    clearTimeout(timer);
    timer = setTimeout(() => offer(find.value).catch(() => {}), TYPING_MS);
  } });

  await offer("");
  page.replaceChildren(element("h1", {}, "Compare"),
    element("div", { class: "bar" }, choice("Metric", METRICS, state.metric, set("metric")),
      choice("Horizontal axis", [["step", "step"], ["fraction", "share of the run"]], state.over, set("over")), steps, values),
    picture, differ,
    element("fieldset", {}, element("legend", {}, `Experiments (at most ${MOST})`), element("label", {}, "Name", find), offers));
  dark.addEventListener("change", () => redraw(), { signal });
  addEventListener("resize", () => redraw(), { signal });
  signal.addEventListener("abort", () => view?.finalize());
  await redraw();
}
