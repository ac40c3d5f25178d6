// @ts-check
// The place in the phase diagram: for each boundary of the theory where its quantity lies, beside the critical value.

import { element } from "./element.js";
import { extent, number } from "./format.js";

const SPACE = "http://www.w3.org/2000/svg", WIDTH = 260, HEIGHT = 30, EDGE = 8, LINE = 10, DECADES = 2;

/** @typedef {import("./format.js").Extent} Extent */
/** @typedef {{ symbol: string, meaning: string, value: Extent, critical: Extent, ratio: Extent | null, above: number }} Boundary */

/** A threshold of one config. @param {any} threshold @returns {Boundary} */
const alone = ({ symbol, meaning, value, critical }) => ({
  symbol, meaning, value: { low: value, high: value, count: 1 }, critical: { low: critical, high: critical, count: 1 },
  ratio: value > 0 && critical > 0 ? { low: value / critical, high: value / critical, count: 1 } : null, above: Number(value >= critical) });

/** The boundaries of a prediction; its one threshold where it has no list of them. @param {any} prediction @returns {Boundary[]} */
export const boundariesOf = ({ boundaries, threshold }) => (boundaries?.length ? boundaries : [threshold].filter(Boolean)).map(alone);

/** @param {string} tag @param {Record<string, unknown>} attributes @param {string} [text] */
function drawn(tag, attributes, text = "") {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.textContent = text;
  return node;
}

/** @param {number} ratio to the critical value; beyond two decades it stands at the end */
const place = (ratio) => EDGE + ((Math.min(DECADES, Math.max(-DECADES, Math.log10(ratio))) + DECADES) / (2 * DECADES)) * (WIDTH - 2 * EDGE);

/** @param {Boundary} boundary @param {string} words */
function ruler({ ratio, above }, words) {
  const svg = drawn("svg", { class: "phase", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": words });
  const edge = above ? WIDTH - EDGE : EDGE;  // a quantity or a critical value that is not positive has no logarithm
  const [low, high] = ratio ? [place(ratio.low), place(ratio.high)] : [edge, edge];
  svg.append(drawn("line", { x1: EDGE, x2: WIDTH - EDGE, y1: LINE, y2: LINE }),
    drawn("line", { class: "critical", x1: WIDTH / 2, x2: WIDTH / 2, y1: LINE - 8, y2: LINE + 8 }),
    drawn("line", { class: "here", x1: low - 0.1, x2: high + 0.1, y1: LINE, y2: LINE }),
    drawn("text", { x: EDGE, y: HEIGHT - 2 }, `÷${10 ** DECADES}`), drawn("text", { x: WIDTH / 2, y: HEIGHT - 2, "text-anchor": "middle" }, "critical"),
    drawn("text", { x: WIDTH - EDGE, y: HEIGHT - 2, "text-anchor": "end" }, `×${10 ** DECADES}`));
  return svg;
}

/** @param {Boundary} boundary */
function said({ symbol, meaning, value, critical, ratio, above }) {
  const count = value.count, below = count - above;
  const side = count === 1 ? `${above ? "at it or above" : "below"}${ratio ? ` (${number(ratio.low, 3)} of it)` : ""}`
    : !above || !below ? `all ${above ? "at it or above" : "below"}` : `${below.toLocaleString()} below, ${above.toLocaleString()} at it or above`;
  return `${symbol} = ${extent(value, 4)}, critical ${extent(critical, 4)}: ${side}${meaning ? `; ${meaning}` : ""}`;
}

/** @param {Boundary[]} boundaries */
export const phases = (boundaries) => element("div", { class: "phases" }, element("h3", {}, "Place in the phase diagram"), boundaries.length
  ? boundaries.map((one) => element("div", {}, ruler(one, said(one)), element("small", {}, said(one))))
  : element("small", { class: "quiet" }, "No boundary is known for this model."));
