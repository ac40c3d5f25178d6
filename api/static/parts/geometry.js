// @ts-check
// Cosines of class means and weights at the end of a UFM, beside the predicted ones.

import { ask } from "../server/api.js";
import { choice, element, fill } from "./element.js";
import { draw, theme } from "./picture.js";

const NARROW_PIXELS = 760, SIDE_PIXELS = 260;

/** @param {string} path @param {AbortSignal} signal @param {import("./spec.js").Experiment} item */
export function geometry(path, signal, item) {
  const picture = element("div", { class: "picture small", tabindex: 0, role: "region", "aria-label": "Geometry" });
  const bar = element("div", { class: "bar" });
  /** @type {any} */
  let view = null;
  let seed = String(item.spec.seeds[0]);
  const redraw = async () => {
    const wanted = new URLSearchParams({ theme: theme(), seed, columns: innerWidth < NARROW_PIXELS ? "1" : "4", title: "none",
      width: String(SIDE_PIXELS), height: String(SIDE_PIXELS) });
    const drawn = await ask(`${path}/geometry.json?${wanted}`, { signal, reader: JSON.parse });
    view?.finalize();
    view = await draw(picture, drawn, { fitted: false });
  };
  const node = element("details", { ontoggle: async () => {
    if (!node.open || view) return;
    try { await redraw(); } catch (error) { if (!signal.aborted) fill(picture, element("p", { class: "quiet" }, /** @type {Error} */ (error).message)); }
  } }, element("summary", {}, "Geometry at the end"), bar, picture);
  if (item.spec.seeds.length > 1) {
    fill(bar, choice("Seed of the geometry", item.spec.seeds.map(String), seed, (value) => { seed = value; redraw().catch(() => {}); }));
  }
  signal.addEventListener("abort", () => view?.finalize());
  return {
    node,
    /** Only of a UFM that has ended. @param {import("./spec.js").Experiment} now */
    show(now) { node.hidden = now.spec.model?.kind !== "ufm" || !now.result; },
  };
}
