// @ts-check
// The curves of an experiment: panels, layers, seeds and scales as they are chosen.

import { ask } from "../server/api.js";
import { choice, element, fill } from "./element.js";
import { dark, draw, isLog, theme } from "./picture.js";
import { inOrder } from "./spec.js";

const NARROW_PIXELS = 760, TALL_PIXELS = 420, EACH = "each";
/** Seeds that the API draws as lines of their own. */
const MOST_LINES = 20;

/** The names of all panels, as the API's description has them. @type {Promise<string[]> | null} */
let panels = null;
const allPanels = () => (panels ??= ask("openapi.json").then((api) => api.components.schemas.PanelName.enum));

/** @typedef {{ panel: string, layer: string[], seed: string, x: string, y: string, hide: string[], range: string }} State what is chosen; empty: all; `range` as "100..2000" */

/**
 * @param {string} path @param {AbortSignal} signal @param {import("./spec.js").Experiment} item @param {State} state
 * @param {() => void} changed called when the user has chosen something
 */
export function curves(path, signal, item, state, changed) {
  const picture = element("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Curves" });
  const bar = element("div", { class: "bar" }), chips = element("fieldset", { class: "chips", hidden: true });
  const caption = element("p", { class: "quiet caption" });
  const hint = element("p", { class: "quiet caption" });
  /** @type {Map<string, Set<string>>} */
  const measured = new Map();
  /** @type {Set<string>} */
  const hidden = new Set(state.hide);
  const toggle = (/** @type {string} */ value) => {
    if (!hidden.delete(value)) hidden.add(value);
    state.hide = [...hidden];
    changed();
  };
  /** @type {any} */
  let view = null;
  let offered = "";

  const add = (/** @type {string} */ metric, /** @type {string | null} */ layer) => {
    if (!measured.has(metric)) measured.set(metric, new Set());
    if (layer) measured.get(metric)?.add(layer);
  };
  const whole = element("button", { type: "button", onclick: () => choose(null) }, "All steps");
  /** @param {[number, number] | null} range */
  const choose = (range) => {
    state.range = range ? range.map((step) => Number(step.toPrecision(4))).join("..") : "";
    changed();
  };
  const rangeOf = () => {
    const [first, last] = state.range.split("..").map(Number);
    return last > first ? /** @type {[number, number]} */ ([first, last]) : null;
  };
  const set = (/** @type {"panel" | "seed" | "x" | "y"} */ name) => (/** @type {string} */ value) => { state[name] = value; changed(); };
  const scale = (/** @type {string} */ name, /** @type {"x" | "y"} */ axis) => choice(name, ["log", "linear"], state[axis], set(axis));
  const steps = scale("Steps", "x"), values = scale("Values", "y");
  const isMany = item.spec.seeds.length > MOST_LINES;
  const seeds = choice("Seed", [["", "median and range"], .../** @type {[string, string][]} */ (isMany ? [] : [[EACH, "a line for each"]]), .../** @type {[string, string][]} */ (item.spec.seeds.map((/** @type {any} */ seed) => [String(seed), `seed ${seed}`]))],
    state.seed, set("seed"));
  seeds.hidden = item.spec.seeds.length < 2;
  fill(bar, seeds, steps, values, whole);
  const panelSelect = choice("Panel", [["", "all"]], "", set("panel"));
  bar.prepend(panelSelect);
  allPanels().then((names) => {
    const fresh = choice("Panel", [["", "standard panels"], ...names], state.panel, set("panel"));
    panelSelect.replaceChildren(...fresh.childNodes);
  }).catch(() => {});

  /** Offers the layers that were measured. */
  const offer = () => {
    const layers = inOrder([...new Set([...measured.values()].flatMap((all) => [...all]))]);
    chips.hidden = layers.length < 2;
    if (layers.join() === offered) return;
    offered = layers.join();
    fill(chips, element("legend", {}, "Layers"), layers.map((layer) => element("label", { class: "row" },
      element("input", { type: "checkbox", checked: !state.layer.length || state.layer.includes(layer), onchange: (/** @type {any} */ event) => {
        const on = new Set(state.layer.length ? state.layer : layers);
        if (event.target.checked) on.add(layer); else on.delete(layer);
        state.layer = on.size === layers.length ? [] : layers.filter((one) => on.has(one));
        changed();
      } }), layer)));
  };
  /** What is seen, but for the theme: files are for paper. */
  const query = () => {
    const wanted = new URLSearchParams({ columns: innerWidth < NARROW_PIXELS ? "1" : "2" });
    if (state.panel) wanted.set("panel", state.panel);
    if (state.seed === EACH) wanted.set("each_seed", "true");
    else if (state.seed) wanted.set("seed", state.seed);
    for (const layer of state.layer) wanted.append("layer", layer);
    return wanted;
  };
  return {
    node: element("div", {}, bar, chips, picture, caption, hint),
    query,
    /** The layers of each metric. */
    layersOf: () => measured,
    /** @param {import("./spec.js").Result | null} result */
    measured(result) {
      for (const one of result?.final[0]?.metrics ?? []) add(one.metric, one.layer);
      offer();
    },
    /** @param {{ quantity: string, layer: string | null }[]} rows */
    compared(rows) {
      for (const one of rows) add(one.quantity, one.layer);
      offer();
    },
    /** Draws, and gives the picture's style. */
    async redraw() {
      const { title, ...drawn } = await ask(`${path}/plot.json?${query()}&theme=${theme()}`, { signal, reader: JSON.parse });
      fill(caption, [title?.subtitle ?? ""].flat().join(" "));
      steps.hidden = !isLog(drawn, "x");
      values.hidden = !isLog(drawn, "y");
      view?.finalize();
      view = await draw(picture, drawn, { axes: state, height: state.panel ? TALL_PIXELS : undefined, zoom: Boolean(state.panel), hidden, toggle,
        range: rangeOf(), choose: state.panel ? undefined : choose });
      whole.hidden = !state.range;
      fill(hint, state.panel ? "Drag to move, Shift and wheel to zoom, double click to see all."
        : "Drag across a panel to see some of the steps, double click to see all. A click on an entry of the legend hides it.");
      return drawn.config;
    },
    /** @param {() => void} work what is to be done when theme or width have changed */
    anew(work) {
      dark.addEventListener("change", work, { signal });
      addEventListener("resize", work, { signal });
      signal.addEventListener("abort", () => view?.finalize());
    },
  };
}
