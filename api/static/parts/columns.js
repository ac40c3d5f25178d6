// @ts-check
// The columns of the table of experiments: fields, parameters, and final values, each by its name in the API.

import { ask } from "../server/api.js";
import { element, tags } from "./element.js";
import { duration, number, progress, status, time, words } from "./format.js";
import { spark } from "./spark.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {{ key: string, name: string, kind: string, field: string, cell: (run: Run) => import("./element.js").Children }} Column
 * `field` is what the API has to send and to sort by; "": it cannot be sorted by */

export const STANDARD = ["status", "progress", "verdict", "curve", "submitted", "tags"];

/** @param {string} key @param {string} name @param {string} field @param {(run: Run) => import("./element.js").Children} cell @param {string} [kind]
 * @returns {Column} */
const column = (key, name, field, cell, kind = "") => ({ key, name, kind, field, cell });

/** Sent for every run, so that no column has to ask for it. */
export const SENT = ["name", "tags", "status", "created_at", "started_at", "finished_at", "progress", "worker", "device", "archived", "sweep_id"];
/** Sent where a column shows it, though nothing is sorted by it. */
const DRAWN = ["curve"];

const KNOWN = [
  column("status", "Status", "status", (run) => status(run.status)),
  column("progress", "Progress", "progress", progress),
  column("verdict", "Verdict", "verdict", (run) => String(run.values.verdict ?? "").split(",").map((one) => words(one === "none" ? null : one)).join(", "), "wide"),
  column("curve", "NC1", "nc1", (run) => spark(run.curve), "wide"),
  column("submitted", "Submitted", "created", (run) => time(run.created_at), "wide"),
  column("tags", "Tags", "", (run) => [run.archived ? element("span", { class: "tag archived" }, "archived") : null, ...tags(run.tags)], "wide"),
  column("gap", "Gap to prediction", "gap", (run) => number(run.values.gap), "number"),
  column("duration", "Duration", "duration", (run) => duration(run.values.duration), "number"),
  column("seeds", "Number of seeds", "seeds", (run) => run.values.seeds ?? "", "number"),
  column("priority", "Priority", "priority", (run) => run.values.priority, "number"),
  column("sweep", "Sweep", "sweep", (run) => (run.values.sweep ? element("a", { href: `#/sweeps/${run.values.sweep}` }, run.values.sweep) : ""), "wide"),
  column("worker", "Worker", "worker", (run) => run.worker ?? ""),
  column("device", "Device", "device", (run) => run.device ?? ""),
  column("id", "Id", "id", (run) => element("code", {}, run.id)),
];

/** A name as queries take it: in quotes where it has blanks or signs. @param {string} name */
const quoted = (name) => (/[\s()<>=!~:,"']/.test(name) ? `"${name.replaceAll('"', '""')}"` : name);

/** A parameter or a final value. @param {string} key */
const ofFact = (key) => {
  const field = quoted(key);
  return column(key, key.replace(/^(config|final)\./, ""), field, (run) => number(run.values[field]), "number");
};

/** The keys as the address has them, with commas between; empty for the standard ones. @param {string[]} keys */
export const writtenKeys = (keys) => (keys.join() === STANDARD.join() ? "" : keys.map((key) => key.replaceAll("%", "%25").replaceAll(",", "%2C")).join());

/** @param {string | null} written */
export const keysOf = (written) => written?.split(",").map((key) => key.replaceAll("%2C", ",").replaceAll("%25", "%")) ?? STANDARD;

/** The columns of these keys. @param {string[]} keys */
export const columnsOf = (keys) => keys.map((key) => KNOWN.find((one) => one.key === key) ?? ofFact(key));

/** All that can be chosen: parameters that differ between experiments, and every final value. @param {string[]} chosen kept in any case */
export async function choices(chosen) {
  /** @type {{ name: string, differs: boolean | null }[]} */
  const found = (await ask("fields")).items;
  const facts = found.filter(({ name, differs }) => (name.startsWith("config.") && differs) || name.startsWith("final.")).map(({ name }) => name);
  return columnsOf([...new Set([...KNOWN.map(({ key }) => key), ...facts, ...chosen])]);
}

/** What the API has to send beside what it always sends. @param {Column[]} columns */
export const askedOf = (columns) => [
  ...DRAWN.filter((name) => columns.some(({ key }) => key === name)),
  ...columns.map(({ field }) => field).filter((field) => field && !["status", "progress", "created", "worker", "device", "id"].includes(field)),
];
