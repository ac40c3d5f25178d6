// @ts-check
// Draws the server's Vega-Lite, fitted to its place.

import { visible } from "../server/json.js";
import { element } from "./element.js";
import { number } from "./format.js";
import { brush, crosshair, hideByLegend, lowerSubscripts } from "./over_picture.js";

/** @typedef {Record<string, any>} VegaLite */

export const dark = matchMedia("(prefers-color-scheme: dark)");
export const theme = () => (dark.matches ? "dark" : "light");

const LOGARITHMIC = ["log", "symlog"];
const AXIS_PIXELS = 78, LEAST_PIXELS = 180, MOST_PIXELS = 1100;
const LONG_NUMBER = /^-?\d+\.\d{6,}(e[+-]?\d+)?$|^-?\d+(\.\d+)?e[+-]?\d+$/;

/** @typedef {{ x?: string, y?: string }} Scales "linear" turns a log axis into a linear one */
/** @typedef {"x" | "y"} Axis */

const AXES = /** @type {Axis[]} */ (["x", "y"]);
/** @param {VegaLite} picture @returns {VegaLite[]} */
const panelsOf = (picture) => picture.concat ?? [picture];
/** @param {VegaLite} panel @returns {VegaLite[]} */
const layersOf = (panel) => panel.layer ?? [panel];

/** Powers of ten beside a log axis are drawn as texts: a number and its exponent. @param {VegaLite} layer @param {Axis} axis */
const isPower = (layer, axis) => ["base", "exponent"].includes(layer.encoding?.text?.field) && layer.encoding[axis]?.field !== undefined;

/** Lets Vega choose and write the ticks of an axis; a symlog one, of which it makes too many, keeps those that it has.
 * @param {VegaLite} panel @param {Axis} axis */
function plainTicks(panel, axis) {
  if (panel.layer) panel.layer = panel.layer.filter((/** @type {VegaLite} */ layer) => !isPower(layer, axis));
  for (const { encoding } of layersOf(panel)) {
    if (!encoding?.[axis]?.axis) continue;
    const { values, labelExpr, ...kept } = encoding[axis].axis;
    encoding[axis].axis = { ...kept, values: encoding[axis].scale?.type === "symlog" ? values : undefined, labels: true, format: ".6~g" };
  }
}

/** @param {VegaLite} panel @param {Axis} axis */
function linear(panel, axis) {
  for (const { encoding } of layersOf(panel)) {
    const scale = encoding?.[axis]?.scale;
    if (LOGARITHMIC.includes(scale?.type)) encoding[axis].scale = { ...scale, type: "linear", domain: undefined, constant: undefined, base: undefined };
  }
  plainTicks(panel, axis);
}

const LEGENDS = ["color", "fill", "strokeDash"], NARROW_PIXELS = 700, LETTER_PIXELS = 6, SYMBOL_PIXELS = 32;

/** Gives a legend of names as many columns as there is room for. @param {VegaLite | undefined} channel @param {number} pixels */
function stack(channel, pixels) {
  const names = channel?.scale?.domain;
  if (!channel || channel.legend === null || !names?.some((/** @type {unknown} */ one) => typeof one === "string")) return;
  const longest = Math.max(...names.map((/** @type {unknown} */ one) => String(one).length));
  channel.legend = { ...channel.legend, columns: Math.max(1, Math.floor(pixels / (LETTER_PIXELS * longest + SYMBOL_PIXELS))) };
}

/** The panels as wide as their place allows. @param {VegaLite} picture @param {number} pixels @param {number} [height] */
const fit = (picture, pixels, height) => {
  const count = panelsOf(picture).length, columns = Math.min(picture.columns ?? count, count);
  const each = Math.floor((pixels - 24 * (columns - 1)) / columns) - AXIS_PIXELS;
  for (const panel of panelsOf(picture)) {
    panel.width = Math.max(LEAST_PIXELS, Math.min(MOST_PIXELS, each));
    if (height) panel.height = height;
    for (const { encoding } of layersOf(panel)) {  // a longer ramp would shrink the whole picture
      const legend = encoding?.color?.legend;
      if (legend?.gradientLength) legend.gradientLength = Math.min(legend.gradientLength, panel.width);
      if (pixels < NARROW_PIXELS) for (const channel of LEGENDS) stack(encoding?.[channel], pixels);
    }
  }
  if (pixels < NARROW_PIXELS) {  // legends that stand side by side would do the same
    const { legend } = picture.config ?? {};
    picture.config = { ...picture.config, legend: { ...legend, layout: { bottom: { direction: "vertical", anchor: "start" } } } };
  }
  return picture;
};

/** Lets a single panel be dragged and zoomed; a double click brings all of it back. @param {VegaLite} panel */
function zoomable(panel) {
  for (const axis of AXES) plainTicks(panel, axis);
  layersOf(panel)[0].params = [{ name: "zoom", bind: "scales", select: { type: "interval", zoom: "wheel![event.shiftKey]" } }];
}

/** The panels over the steps from `first` to `last` alone. @param {VegaLite} panel @param {[number, number]} range */
function narrow(panel, [first, last]) {
  for (const layer of layersOf(panel)) {
    const x = layer.encoding?.x;
    if (!x?.field || x.scale?.domain?.[0] !== 0) continue;
    const { values, ...axis } = x.axis ?? {}, inside = values?.filter((/** @type {number} */ tick) => tick >= first && tick <= last);
    x.scale = { ...x.scale, domain: [first, last] };
    x.axis = inside ? { ...axis, values: inside.length > 1 ? inside : [first, last] } : axis;
    layer.mark = { ...layer.mark, clip: true };
  }
}

const NAMED = ["experiment", "shade", "depth", "layer", "metric"];

/** The picture without the parts of these names. @param {VegaLite} picture @param {Set<string>} hidden */
function hide(picture, hidden) {
  for (const [name, rows] of Object.entries(picture.datasets ?? {})) {
    picture.datasets[name] = rows.filter((/** @type {any} */ row) => !NAMED.some((field) => hidden.has(row[field])));
  }
}

/** @param {VegaLite} picture @param {Axis} axis */
export const isLog = (picture, axis) => panelsOf(picture).some((panel) =>
  layersOf(panel).some(({ encoding }) => LOGARITHMIC.includes(encoding?.[axis]?.scale?.type)));

/** The runtime is large: loaded when the first picture is drawn, so that no other page waits for it.
 * @type {Promise<unknown> | null} */
let loading = null;
const runtime = () => (loading ??= new Promise((resolve, reject) => {
  const failed = () => {
    loading = null;
    script.remove();
    reject(new Error("The chart library could not be loaded from the server."));
  };
  const script = element("script", { src: "static/vega.js", onload: resolve, onerror: failed });
  document.head.append(script);
}));

/** What a tooltip shows: `names` for what the picture calls x and y, numbers as elsewhere on the page, nothing of Vega's own.
 * @param {Record<string, string | undefined>} names */
const tooltip = (names) => (/** @type {any} */ values, /** @type {(text: string) => string} */ toHtml) => {
  const rows = typeof values === "object" ? Object.entries(values) : [["", values]];
  const text = (/** @type {any} */ value) => toHtml(visible(LONG_NUMBER.test(value) ? number(Number(value)) : String(value)));
  return `<table>${rows.filter(([key, value]) => !key.endsWith("_sort_index") && value !== "" && value !== undefined)
    .map(([key, value]) => `<tr><td class=key>${toHtml(visible(names[key] ?? key))}</td><td class=value>${text(value)}</td></tr>`)
    .join("")}</table>`;
};

/**
 * @param {HTMLElement} target
 * @param {VegaLite} picture
 * @param {{ axes?: Scales, names?: Record<string, string | undefined>, height?: number, zoom?: boolean,
 *   hidden?: Set<string>, fitted?: boolean, toggle?: (value: string) => void, range?: [number, number] | null,
 *   choose?: (range: [number, number] | null) => void }} [options] `toggle`: called with the entry of a legend that was clicked, `choose` with the steps
 *   that were dragged over, which are then the `range`
 * @returns {Promise<any>} the view, with `finalize`
 */
export async function draw(target, picture, { axes = {}, names = {}, height, zoom = false, hidden = new Set(), fitted: isFitted = true, toggle, range = null, choose } = {}) {
  const copy = structuredClone(picture), fitted = isFitted ? fit(copy, target.clientWidth - 16, height) : copy;
  for (const panel of panelsOf(fitted)) {
    for (const axis of AXES) if (axes[axis] === "linear" && isLog(panel, axis)) linear(panel, axis);
    if (range) narrow(panel, range);
    if (zoom) zoomable(panel);
  }
  if (hidden.size) hide(fitted, hidden);
  await runtime();
  const shown = { theme: theme(), formatTooltip: tooltip(names) };
  const { view, finalize } = await /** @type {any} */ (window).vegaEmbed(target, fitted, { actions: false, renderer: "svg", tooltip: shown });
  const label = picture.description || [picture.title?.text ?? picture.title ?? ""].flat().join(" ") || "curves";
  const svg = target.querySelector("svg");
  if (svg) {
    svg.setAttribute("aria-label", visible([label].flat().join(" ")));
    lowerSubscripts(svg);
    if (toggle) hideByLegend(svg, hidden, toggle);
    if (toggle) crosshair(svg, view, range?.[0] ?? 0);
    if (choose) brush(svg, view, range?.[0] ?? 0, choose);
  }
  return { view, finalize };
}
