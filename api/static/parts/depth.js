// @ts-check
// A metric over the layers at a step: depth as an axis.

import { ask } from "../server/api.js";
import { choice, element, fill } from "./element.js";
import { draw } from "./picture.js";
import { inOrder } from "./spec.js";

const POINTS = 200;

/** @typedef {{ metric: string, layer: string | null, seed: number | bigint, steps: number[], values: (number | null)[] }} Series */

/**
 * @param {string} path of the experiment
 * @param {AbortSignal} signal
 * @param {{ metric: string, at: string }} state the chosen metric and step; kept by the caller
 * @param {() => void} keep
 */
export function depth(path, signal, state, keep) {
  const picture = element("div", { class: "picture small", tabindex: 0, role: "region", "aria-label": "Metric over layers" });
  const slider = element("input", { type: "range", min: 0, step: 1, oninput: () => { state.at = String(steps[Number(slider.value)]); keep(); redraw(); } });
  const shown = element("output"), bar = element("div", { class: "bar" });
  const node = element("section", { hidden: true }, element("h2", {}, "Over the layers"), bar, picture);
  /** @type {Series[]} */
  let series = [];
  /** @type {number[]} */
  let steps = [];
  /** @type {Record<string, any>} */
  let style = {};
  /** @type {any} */
  let view = null;
  let drawing = Promise.resolve();
  /** @type {string[]} */
  let offered = [];

  const index = () => {
    const wanted = state.at === "" ? steps.length - 1 : steps.findIndex((step) => step >= Number(state.at));
    return wanted < 0 ? steps.length - 1 : wanted;
  };
  const rows = () => series.flatMap((one) => {
    const at = one.steps.findLastIndex((step) => step <= steps[index()]);  // each series is thinned by itself
    const value = at < 0 ? null : one.values[at];
    return value === null ? [] : [{ layer: one.layer, value, seed: String(one.seed) }];
  });
  const redraw = () => {
    drawing = drawing.then(async () => {
      const values = rows(), positive = values.every(({ value }) => value > 0);
      slider.max = String(steps.length - 1);
      slider.value = String(index());
      fill(shown, `step ${steps[index()]?.toLocaleString() ?? "–"}`);
      const layers = inOrder([...new Set(series.map((one) => /** @type {string} */ (one.layer)))]);
      view?.finalize();
      view = await draw(picture, { config: style, height: 200, data: { values }, mark: { type: "line", point: true }, encoding: {
        x: { field: "layer", type: "nominal", sort: layers, title: "layer", axis: { labelAngle: 0 } },
        y: { field: "value", type: "quantitative", title: state.metric, scale: { type: positive ? "log" : "linear" },
          axis: { format: "~g" } },
        detail: { field: "seed" }, tooltip: ["layer", "value", "seed"].map((field) => ({ field, type: "nominal" })),
      } });
    }).catch(() => {});
  };
  /** Asks for the series of the chosen metric, and draws. @param {Map<string, Set<string>>} measured the layers of each metric @param {any} given a picture's config */
  const refresh = async (measured, given) => {
    const metrics = [...measured].filter(([, layers]) => layers.size > 1).map(([metric]) => metric);
    node.hidden = !metrics.length;
    if (!metrics.length) return;
    if (!metrics.includes(state.metric)) state.metric = metrics[0];
    if (metrics.join() !== offered.join()) {
      offered = metrics;
      const select = choice("Metric", metrics, state.metric, (value) => { state.metric = value; keep(); refresh(measured, given).catch(() => {}); });
      fill(bar, select, element("label", { class: "grow" }, "Step", slider), shown);
    }
    style = given;
    const answer = await ask(`${path}/metrics?metric=${state.metric}&max_points=${POINTS}`, { signal });
    series = answer.series.filter((/** @type {Series} */ one) => one.layer !== null);
    steps = [...new Set(series.flatMap((one) => one.steps))].sort((a, b) => a - b);
    redraw();
    await drawing;
  };
  signal.addEventListener("abort", () => view?.finalize());
  return { node, refresh };
}
