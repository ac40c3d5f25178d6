// @ts-check
// The workers that are up, and what each is running.

import { ask } from "../server/api.js";
import { element, refill } from "./element.js";
import { bytes } from "./format.js";

/** @param {{ id: string, device: string, used_bytes: number, memory_bytes: number, experiment: string | null, running: number }} one */
const line = (one) => element("li", {}, `${one.id}: ${one.device} `,
  element("span", { class: "quiet" }, `(${bytes(one.used_bytes)} of ${bytes(one.memory_bytes)} in use) `),
  one.experiment ? element("a", { id: `runs-${one.id}`, href: `#/experiments/${one.experiment}` }, one.running > 1 ? `running ${one.running} experiments` : "running an experiment") : "idle");

/** @param {HTMLElement} place @param {AbortSignal} signal */
export async function workers(place, signal) {
  const alive = (await ask("workers", { signal })).items.filter((/** @type {{ alive: boolean }} */ one) => one.alive);
  refill(place, element("h2", {}, "Workers"), alive.length ? element("ul", { class: "plain" }, alive.map(line))
    : element("p", { class: "bad" }, "No worker is up. Queued experiments wait for one."));
}
