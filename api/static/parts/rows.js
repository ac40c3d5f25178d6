// @ts-check
// A long table of which only the lines in sight are made.

import { element, fill } from "./element.js";

const AROUND = 12;

/**
 * @param {string} label @param {number} height of a line in pixels
 * @param {(index: number) => HTMLTableRowElement} line
 * @param {(index: number) => string} mark the content of a line: an element with the same mark is kept, so that a click on it is not lost
 * @param {(first: number, last: number) => void} seen called with the range in sight
 */
export function longTable(label, height, line, mark, seen) {
  const head = element("thead"), body = element("tbody");
  const table = element("table", { class: "long" }, head, body);
  const node = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, table);
  let count = 0, shown = "";
  /** The lines that are made, by their marks. @type {Map<string, HTMLTableRowElement>} */
  let made = new Map();
  const space = (/** @type {number} */ lines) => element("tr", { class: "space", "aria-hidden": "true" },
    element("td", { colspan: 99, style: `height: ${lines * height}px` }));
  /** Makes the lines in sight; `fresh` says that they have changed. */
  const update = (fresh = false) => {
    if (!node.isConnected) return;
    const above = -body.getBoundingClientRect().top / height, sight = innerHeight / height;
    const first = Math.max(0, Math.min(Math.floor(above) - AROUND, count - 1)), last = Math.min(count, Math.ceil(above + sight) + AROUND);
    const range = `${first} ${last} ${count}`;
    if (range === shown && !fresh) return;
    const marks = Array.from({ length: Math.max(0, last - first) }, (_, i) => `${first + i} ${mark(first + i)}`);
    const same = range === shown && marks.every((one) => made.has(one));
    shown = range;
    seen(first, last);
    if (same) return;
    const held = body.contains(document.activeElement) ? document.activeElement?.id : "";
    made = new Map(marks.map((one, i) => {
      const row = made.get(one) ?? line(first + i);
      row.setAttribute("aria-rowindex", String(first + i + 2));
      return [one, row];
    }));
    fill(body, first > 0 ? space(first) : null, [...made.values()], last < count ? space(count - last) : null);
    if (held) document.getElementById(held)?.focus({ preventScroll: true });
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
