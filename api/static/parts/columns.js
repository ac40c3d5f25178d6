// @ts-check
// The columns of the table of experiments: what is always known, the parameters that differ, and final values.

import { element, tags } from "./element.js";
import { duration, number, progress, status, time } from "./format.js";
import { differing, text } from "./spec.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {{ key: string, name: string, kind?: string, value: (run: Run) => any, cell: (run: Run) => import("./element.js").Children }} Column
 * `value` is what is sorted by */

/** @param {string} key @param {string} name @param {(run: Run) => any} value @param {(run: Run) => import("./element.js").Children} [cell] @param {string} [kind]
 * @returns {Column} */
const column = (key, name, value, cell = value, kind = "") => ({ key, name, value, cell, kind });
const share = (/** @type {Run} */ { progress: at }) => (at.total ? at.step / at.total : 0);

export const STANDARD = ["status", "progress", "verdict", "submitted", "tags"];

const KNOWN = [
  column("status", "Status", (run) => run.status, (run) => status(run.status)),
  column("progress", "Progress", share, progress),
  column("verdict", "Verdict", (run) => run.verdict, (run) => run.verdict, "wide"),
  column("submitted", "Submitted", (run) => run.created_at, (run) => time(run.created_at), "wide"),
  column("tags", "Tags", (run) => run.tags.join(), (run) => tags(run.tags), "wide"),
  column("gap", "Gap to f*", (run) => run.gap, (run) => number(run.gap), "number"),
  column("duration", "Duration", (run) => run.seconds, (run) => duration(run.seconds), "number"),
  column("seeds", "Number of seeds", (run) => run.seeds, (run) => run.seeds, "number"),
  column("worker", "Worker", (run) => run.worker, (run) => run.worker ?? ""),
  column("device", "Device", (run) => run.device, (run) => run.device ?? ""),
  column("id", "Id", (run) => run.id, (run) => element("code", {}, run.id)),
];

/** All that can be chosen for these runs. @param {Run[]} all @param {string[]} chosen kept, though no run has them now */
export function columnsOf(all, chosen) {
  const named = (/** @type {string} */ before) => chosen.filter((key) => key.startsWith(before)).map((key) => key.slice(before.length));
  const params = [...new Set([...differing(all.map((run) => run.params)), ...named("config.")])];
  const metrics = [...new Set([...all.flatMap((run) => Object.keys(run.finals)), ...named("final.")])];
  return [
    ...KNOWN,
    ...params.map((path) => column(`config.${path}`, path, (run) => run.params[path], (run) => text(run.params[path]), "number")),
    ...metrics.map((key) => column(`final.${key}`, key, (run) => run.finals[key], (run) => number(run.finals[key]), "number")),
  ];
}

/** What the API has to send for these columns, beside the small fields. @param {string[]} keys @returns {import("./runs.js").Large[]} */
export const largeOf = (keys) => [
  .../** @type {"spec"[]} */ (keys.some((key) => key === "seeds" || key.startsWith("config.")) ? ["spec"] : []),
  .../** @type {"result"[]} */ (keys.some((key) => key === "verdict" || key === "gap" || key.startsWith("final.")) ? ["result"] : []),
];

/** Nothing comes last, whichever way. @param {Column} by @param {boolean} falling */
export const order = ({ value }, falling) => (/** @type {Run} */ a, /** @type {Run} */ b) => {
  const [one, other] = [value(a), value(b)].map((found) => (found === undefined || found === "" ? null : found));
  if (one === null || other === null) return Number(one === null) - Number(other === null);
  const difference = typeof one === typeof other ? Number(one > other) - Number(one < other) : String(one) > String(other) ? 1 : -1;
  return falling ? -difference : difference;
};
