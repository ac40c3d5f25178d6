// What happened to an experiment, asked for once it is looked at.

import { ask } from "./server.js";
import { element, fill, problem, time } from "./page.js";

const line = (one) => element("li", {}, element("span", { class: "quiet" }, time(one.at)), ` ${one.event}`,
  one.worker ? element("span", { class: "quiet" }, ` (attempt ${one.attempt}, ${one.worker})`) : null,
  one.detail ? element("pre", { tabindex: 0 }, one.detail) : null);

export function logs(path, signal) {
  const lines = element("ul", { class: "plain" });
  const refresh = async () => {
    if (!node.open) return;
    try { fill(lines, (await ask(`${path}/logs`, { signal })).items.map(line)); } catch (error) {
      if (!signal.aborted) fill(lines, problem(error));
    }
  };
  const node = element("details", { ontoggle: refresh }, element("summary", {}, "What happened"), lines);
  return { node, refresh };
}
