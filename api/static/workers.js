// Who trains, and what runs there.

import { ask } from "./server.js";
import { element, fill } from "./page.js";

const gib = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

const line = (one) => element("li", {}, `${one.id}: ${one.device} `,
  element("span", { class: "quiet" }, `(${gib(one.used_bytes)} of ${gib(one.memory_bytes)}) `),
  one.experiment ? element("a", { href: `#/experiments/${one.experiment}` }, "at work") : "idle");

export async function workers(place, signal) {
  const alive = (await ask("workers", { signal })).items.filter((one) => one.alive);
  fill(place, element("h2", {}, "Workers"), alive.length ? element("ul", { class: "plain" }, alive.map(line))
    : element("p", { class: "bad" }, "No worker is there: what is queued waits."));
}
