// @ts-check
// A long table of which only the lines in sight are made.

import { element, fill } from "./element.js";

const AROUND = 12;

/**
 * @param {string} label @param {number} height of a line in pixels
 * @param {(index: number) => HTMLTableRowElement} line
 * @param {(first: number, last: number) => void} seen called with what is in sight
 */
export function longTable(label, height, line, seen) {
  const head = element("thead"), body = element("tbody");
  const table = element("table", { class: "long" }, head, body);
  const node = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
  let count = 0, shown = "";
  const space = (/** @type {number} */ lines) => element("tr", { class: "space", "aria-hidden": "true" },
    element("td", { colspan: 99, style: `height: ${lines * height}px` }));
  /** Makes the lines in sight; `fresh` says that they have changed. */
  const update = (fresh = false) => {
    if (!node.isConnected) return;
    const above = -body.getBoundingClientRect().top / height, sight = innerHeight / height;
    const first = Math.max(0, Math.min(Math.floor(above) - AROUND, count - 1)), last = Math.min(count, Math.ceil(above + sight) + AROUND);
    const range = `${first} ${last} ${count}`;
    if (range === shown && !fresh) return;
    shown = range;
    const held = body.contains(document.activeElement) ? document.activeElement?.id : "";
    fill(body, first > 0 ? space(first) : null, Array.from({ length: Math.max(0, last - first) }, (_, i) => {
      const row = line(first + i);
      row.setAttribute("aria-rowindex", String(first + i + 2));
      return row;
    }), last < count ? space(count - last) : null);
    if (held) document.getElementById(held)?.focus({ preventScroll: true });
    seen(first, last);
  };
  return {
    node, head, update,
    /** @param {number} lines @param {boolean} isComplete */
    resize(lines, isComplete) {
      count = lines;
      table.setAttribute("aria-rowcount", String(isComplete ? lines + 1 : -1));
      update(true);
    },
  };
}
