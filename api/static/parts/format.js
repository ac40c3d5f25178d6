// @ts-check
// Numbers, times and states as they are read.

import { element } from "./element.js";

// tests/test_status.py holds these against ncore/status.py
export const STATES = ["queued", "running", "lost", "succeeded", "failed", "cancelled"];
const ENDED = ["succeeded", "failed", "cancelled"];
const RETRIED = ["failed", "cancelled"];

/** @param {string} state */
export const ended = (state) => ENDED.includes(state);

/** @param {string} state Whether a retry is possible. */
export const retried = (state) => RETRIED.includes(state);

/** @param {unknown} value @param {number} [digits] */
export const number = (value, digits = 6) => {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : Number(value.toPrecision(digits)).toString();
};

/** @typedef {{ low: number, high: number, count: number }} Extent the lowest and the highest of `count` values */

/** @param {Extent} values @param {number} [digits] */
export const extent = ({ low, high }, digits) => [...new Set([number(low, digits), number(high, digits)])].join(" … ");

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 1) return `${Math.max(0, Math.round(1000 * seconds))} ms`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** @param {number} count */
export const bytes = (count) => {
  const power = Math.min(3, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${Number((count / 2 ** (10 * power)).toPrecision(3))} ${["B", "KiB", "MiB", "GiB"][power]}`;
};

/** @param {string | null} text */
export const time = (text) => (text
  ? element("time", { datetime: text }, new Date(text).toLocaleString([], { dateStyle: "short", timeStyle: "medium" }))
  : "–");

/** @param {string} value */
export const status = (value) => element("span", { class: `status ${value}` }, value);

/** @param {string | null} word as simplex_etf; null is not known */
export const words = (word) => (word ?? "not known").replaceAll("_", " ").replace(/\b(etf|srg)\b/g, (letters) => letters.toUpperCase());

/** @param {{ status: string, progress: { step: number, total: number, eta_seconds: number | null } }} item */
export function progress({ status: state, progress: at }) {
  if (!at?.total) return "";
  const share = Math.floor((100 * at.step) / at.total);
  const left = state === "running" && at.eta_seconds !== null && at.eta_seconds !== undefined ? `, ${duration(at.eta_seconds)} left` : "";
  return element("span", { class: "nowrap" },
    element("progress", { max: at.total, value: at.step, "aria-label": "progress" }), ` ${share}\u00a0%${left}`);
}
