// @ts-check
// An experiment's log and its artifacts, each asked for once it is opened.

import { ask, download } from "../server/api.js";
import { element, fill, problem, table } from "./element.js";
import { bytes, time } from "./format.js";

/** @param {{ at: string, event: string, attempt: number, worker: string | null, detail: string | null }} one */
const line = (one) => element("li", {}, element("span", { class: "quiet" }, time(one.at)), ` ${one.event}`,
  one.worker ? element("span", { class: "quiet" }, ` (attempt ${one.attempt}, ${one.worker})`) : null,
  one.detail ? element("pre", { tabindex: 0 }, one.detail) : null);

/** @param {string} name @param {AbortSignal} signal @param {() => Promise<Node>} content */
function onDemand(name, signal, content) {
  const place = element("div");
  const refresh = async () => {
    if (!node.open) return;
    try { fill(place, await content()); } catch (error) {
      if (!signal.aborted) fill(place, problem(/** @type {Error} */ (error)));
    }
  };
  const node = element("details", { ontoggle: refresh }, element("summary", {}, name), place);
  return { node, refresh };
}

/** @param {string} path @param {AbortSignal} signal */
export const logs = (path, signal) => onDemand("Log", signal, async () =>
  element("ul", { class: "plain" }, (await ask(`${path}/logs`, { signal })).items.map(line)));

/** @param {string} path @param {AbortSignal} signal */
export const artifacts = (path, signal) => onDemand("Artifacts", signal, async () => {
  /** @type {{ name: string, bytes: number }[]} */
  const items = (await ask(`${path}/artifacts`, { signal })).items;
  if (!items.length) return element("p", { class: "quiet" }, "No artifacts.");
  return table("Artifacts", [["File"], ["Size", "number"], ["Download"]], items.map((one) => element("tr", {},
    element("td", {}, element("code", {}, one.name)), element("td", { class: "number" }, bytes(one.bytes)),
    element("td", {}, element("button", { onclick: () => download(`${path}/artifacts/${one.name}`, one.name) }, `Save ${one.name}`)))));
});
