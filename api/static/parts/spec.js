// @ts-check
// Specs as dotted paths and values.

import { print } from "../server/json.js";

/** @typedef {{ id: string, name: string, tags: string[], status: string, spec: any, created_at: string, started_at: string | null,
 *   finished_at: string | null, progress: { step: number, total: number, eta_seconds: number | null }, attempt: number,
 *   worker: string | null, device: string | null, error: string | null, result: Result | null }} Experiment */
/** @typedef {{ final: { seed: number | bigint, step: number, metrics: { metric: string, layer: string | null, value: number | null }[] }[],
 *   verdict: Verdict[], engine?: string }} Result */
/** @typedef {{ seed: number | bigint, reached: string | null, gap?: number | null, note?: string | null }} Verdict */

/** {dotted path: value}; a list is one value. @param {any} spec @param {string} [before] @returns {Record<string, unknown>} */
export const leaves = (spec, before = "") => Object.assign({}, ...Object.entries(spec ?? {}).map(([key, value]) => (
  value !== null && typeof value === "object" && !Array.isArray(value) ? leaves(value, `${before}${key}.`) : { [`${before}${key}`]: value })));

/** @param {unknown} value */
export const text = (value) => (value === undefined ? "–" : typeof value === "string" ? value
  : print(typeof value === "number" ? Number(value.toPrecision(8)) : value));

/** The paths on which they do not agree. @param {Record<string, unknown>[]} all */
export const differing = (all) => [...new Set(all.flatMap(Object.keys))]
  .filter((path) => new Set(all.map((one) => print(one[path]))).size > 1);

/** What the preset gives where its spec says nothing cannot be known, so only what it says is compared.
 * @param {Record<string, unknown>} mine @param {Record<string, unknown>} preset */
export const changes = (mine, preset) => Object.keys(preset)
  .filter((path) => !["name", "tags"].includes(path) && print(mine[path]) !== print(preset[path]));

/** Values of the last measurement over the seeds. @param {Result | null} result
 * @returns {Map<string, { metric: string, layer: string | null, mean: number | null, low: number | null, high: number | null }>} */
export function finals(result) {
  const found = new Map();
  for (const one of (result?.final ?? []).flatMap(({ metrics }) => metrics)) {
    const key = one.layer ? `${one.metric} ${one.layer}` : one.metric;
    if (!found.has(key)) found.set(key, { metric: one.metric, layer: one.layer, values: [] });
    if (one.value !== null) found.get(key).values.push(one.value);
  }
  for (const [key, { metric, layer, values }] of found) {
    const mean = values.length ? values.reduce((/** @type {number} */ sum, /** @type {number} */ value) => sum + value, 0) / values.length : null;
    found.set(key, { metric, layer, mean, low: values.length ? Math.min(...values) : null, high: values.length ? Math.max(...values) : null });
  }
  return found;
}

/** In the order of the forward pass: a UFM's levels are measured from the last one on. @param {string[]} layers */
export const inOrder = (layers) => (layers.every((layer) => /^h\d+$/.test(layer))
  ? [...layers].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1))) : layers);
