// @ts-check
// Draws the server's Vega-Lite, fitted to its place.

import { visible } from "../server/json.js";
import { element } from "./element.js";
import { number } from "./format.js";

/** @typedef {Record<string, any>} VegaLite */

export const dark = matchMedia("(prefers-color-scheme: dark)");
export const theme = () => (dark.matches ? "dark" : "light");

const LOGARITHMIC = ["log", "symlog"];
const AXIS_PIXELS = 78, LEAST_PIXELS = 180, MOST_PIXELS = 1100;
const LONG_NUMBER = /^-?\d+\.\d{6,}(e[+-]?\d+)?$|^-?\d+(\.\d+)?e[+-]?\d+$/;

/** @typedef {{ x?: string, y?: string }} Scales "linear" turns a log axis into a linear one */

/** @param {any} node @param {Scales} axes */
const rescale = (node, axes) => {
  if (Array.isArray(node)) node.forEach((child) => rescale(child, axes));
  else if (node && typeof node === "object") {
    for (const axis of /** @type {("x" | "y")[]} */ (["x", "y"])) {
      const scale = node.encoding?.[axis]?.scale;
      if (axes[axis] === "linear" && scale && LOGARITHMIC.includes(scale.type)) {
        node.encoding[axis].scale = { ...scale, type: "linear", domain: undefined, constant: undefined, base: undefined };
        if (node.encoding[axis].axis) {
          const { values, labelExpr, ...kept } = node.encoding[axis].axis;
          node.encoding[axis].axis = kept;
        }
      }
    }
    Object.values(node).forEach((child) => rescale(child, axes));
  }
  return node;
};

/** The panels as wide as their place allows. @param {VegaLite} picture @param {number} pixels @param {number} [height] */
const fit = (picture, pixels, height) => {
  const columns = picture.concat ? Math.min(picture.columns, picture.concat.length) : 1;
  const each = Math.floor((pixels - 24 * (columns - 1)) / columns) - AXIS_PIXELS;
  for (const panel of picture.concat ?? [picture]) {
    panel.width = Math.max(LEAST_PIXELS, Math.min(MOST_PIXELS, each));
    if (height) panel.height = height;
  }
  return picture;
};

/** @param {any} node @param {string} axis @returns {string[]} */
const scales = (node, axis) => (node === null || typeof node !== "object" ? []
  : [node.encoding?.[axis]?.scale?.type, ...Object.values(node).flatMap((child) => scales(child, axis))]);

/** @param {VegaLite} picture @param {string} axis */
export const isLog = ({ datasets, ...drawn }, axis) => scales(drawn, axis).some((type) => LOGARITHMIC.includes(type));

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
 * @param {{ axes?: Scales, names?: Record<string, string | undefined>, height?: number }} [options]
 * @returns {Promise<any>} the view, with `finalize`
 */
export async function draw(target, picture, { axes = {}, names = {}, height } = {}) {
  const fitted = fit(rescale(structuredClone(picture), axes), target.clientWidth - 16, height);
  await runtime();
  const shown = { theme: theme(), formatTooltip: tooltip(names) };
  const { view, finalize } = await /** @type {any} */ (window).vegaEmbed(target, fitted, { actions: false, renderer: "svg", tooltip: shown });
  const label = picture.description || (picture.title?.text ?? picture.title) || "curves";
  target.querySelector("svg")?.setAttribute("aria-label", visible([label].flat().join(" ")));
  return { view, finalize };
}
