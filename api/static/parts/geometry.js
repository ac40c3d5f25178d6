// @ts-check
// Class means and weights at a step: cosines beside the predicted ones, and singular values over the steps.

import { ask } from "../server/api.js";
import { choice, element, fill } from "./element.js";
import { draw, theme } from "./picture.js";

const NARROW_PIXELS = 760, SIDE_PIXELS = 260, ANEW_MS = 2000, LAST = "last";

/**
 * @param {string} path of the experiment
 * @param {AbortSignal} signal
 * @param {import("./spec.js").Experiment} item
 * @param {{ geometry: string, geometry_seed: string }} state "" while it is closed, else the step or "last"; kept by the caller
 * @param {() => void} keep
 */
export function geometry(path, signal, item, state, keep) {
  const seeds = item.spec.seeds.map(String), maps = place("Cosines"), curves = place("Singular values"), note = element("p", { class: "quiet" });
  const slider = element("input", { type: "range", min: 0, step: 1, oninput: () => {
    const at = Number(slider.value);
    state.geometry = at === steps.length - 1 ? LAST : String(steps[at]);
    keep();
    later();
  } });
  const shown = element("output"), label = element("label", { class: "grow", hidden: true }, "Step", slider), bar = element("div", { class: "bar" });
  /** @type {number[]} */
  let steps = [];
  /** @type {any[]} */
  const views = [];
  const query = (/** @type {Record<string, string>} */ wanted) =>
    new URLSearchParams({ ...(state.geometry_seed ? { seed: state.geometry_seed } : {}), ...wanted });
  /** Draws a picture of the server's in its place. @param {number} i @param {HTMLElement} target @param {string} name @param {boolean} fitted @param {Record<string, string>} wanted */
  const put = async (i, target, name, fitted, wanted) => {
    const drawn = await ask(`${path}/${name}.json?${query({ theme: theme(), title: "none", ...wanted })}`, { signal, reader: JSON.parse });
    views[i]?.finalize();
    views[i] = await draw(target, drawn, { fitted });
  };
  const cosines = () => {
    const at = state.geometry === LAST ? steps.length - 1 : Math.max(0, steps.findLastIndex((step) => step <= Number(state.geometry)));
    slider.max = String(steps.length - 1);
    slider.value = String(at);
    slider.setAttribute("aria-valuetext", `step ${steps[at]}`);
    fill(shown, `step ${steps[at].toLocaleString()}`);
    return put(0, maps, "geometry", false, { step: String(steps[at]), columns: innerWidth < NARROW_PIXELS ? "1" : "4",
      width: String(SIDE_PIXELS), height: String(SIDE_PIXELS) });
  };
  const all = async () => {
    steps = (await ask(`${path}/singular-values?${query({ layer: "W" })}`, { signal, reader: JSON.parse })).steps;
    label.hidden = curves.hidden = steps.length < 2;
    maps.hidden = false;
    fill(note, steps.length < 2 ? "Of a member of a sweep, and of an experiment of an earlier version, only the end is kept." : null);
    await cosines();
    if (steps.length > 1) await put(1, curves, "singular-values", true, { columns: innerWidth < NARROW_PIXELS ? "1" : "4" });
  };
  // The slider moves faster than pictures are drawn: those between are left out.
  let drawing = false, due = false;
  const later = async (work = cosines) => {
    due = true;
    if (drawing) return;
    drawing = true;
    while (due && !signal.aborted) {
      due = false;
      try { await work(); } catch (error) {
        if (signal.aborted) break;
        label.hidden = maps.hidden = curves.hidden = true;
        fill(note, /** @type {Error} */ (error).message);
      }
    }
    drawing = false;
  };
  const node = element("details", { open: state.geometry !== "", ontoggle: () => {
    if (node.open === (state.geometry !== "") && views.length) return;
    state.geometry = node.open ? state.geometry || LAST : "";
    keep();
    if (node.open) later(all);
  } }, element("summary", {}, "Geometry"), bar, note, maps, curves);
  if (seeds.length > 1) {
    fill(bar, choice("Seed of the geometry", seeds, state.geometry_seed || seeds[0], (value) => { state.geometry_seed = value; keep(); later(all); }));
  }
  bar.append(label, shown);
  signal.addEventListener("abort", () => views.forEach((view) => view?.finalize()));
  let last = 0;
  return {
    node,
    /** More may have been measured. */
    refresh(isEnd = false) {
      if (!node.open || (Date.now() - last < ANEW_MS && !isEnd)) return;
      last = Date.now();
      later(all);
    },
  };
}

/** @param {string} name */
const place = (name) => element("div", { class: "picture small", tabindex: 0, role: "region", "aria-label": name });
