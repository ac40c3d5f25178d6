// @ts-check
// Elements of pages. All text goes through here, with odd characters made visible (see json.js).

import { hasInk, visible } from "../server/json.js";

const READ_ALOUD = ["aria-label", "title", "placeholder"];

/** @typedef {Node | string | number | bigint | boolean | null | undefined} Child null and undefined are left out */
/** @typedef {Child | (Child | Child[])[]} Children */

/** @param {Children[]} children @returns {(Node | string)[]} */
const shown = (children) => /** @type {any[]} */ (children).flat(2).filter((child) => child !== null && child !== undefined)
  .map((child) => (child instanceof Node ? child : visible(String(child))));

/**
 * An element; attributes that begin with "on" are listeners, true stands for an empty one, false and null for none.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [attributes]
 * @param {...Children} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, READ_ALOUD.includes(name) ? visible(String(value)) : value);
    }
  }
  node.append(...shown(children));
  return node;
}

/** @param {Element} node @param {...Children} children */
export const fill = (node, ...children) => node.replaceChildren(...shown(children));

/** The same as `fill`, but the keyboard's focus is kept. @param {Element} node @param {...Children} children */
export function refill(node, ...children) {
  const held = node.contains(document.activeElement) ? document.activeElement?.id : "";
  fill(node, ...children);
  if (held) document.getElementById(held)?.focus({ preventScroll: true });
}

/** What something is called: its name, or its id where the name has nothing to be seen. @param {{ name?: string, id: string }} item */
export const nameOf = ({ name, id }) => (name && hasInk(name) ? visible(name).replace(/\s+/g, " ") : id);

/** A name of any length and direction, which cannot turn or push what stands around it. @param {{ name?: string, id: string }} item */
export const named = (item) => element("bdi", { class: "name", title: nameOf(item).length > 40 ? nameOf(item) : null }, nameOf(item));

/** @param {string[]} names */
export const tags = (names) => names.map((name) => element("bdi", { class: "tag" }, name));

/** @param {string} text */
export const title = (text) => { document.title = `${visible(text)} · ncore`; };

/** @param {Error} error */
export const problem = (error) => element("div", { class: "errors", role: "alert" }, element("p", {}, error.message));

/** A select with its label. @param {string} name @param {Iterable<string | [string, string]>} options values, or [value, text]
 * @param {string} chosen @param {(value: string) => void} change */
export function choice(name, options, chosen, change) {
  const select = element("select", { onchange: () => change(select.value) }, [...options].map((one) => {
    const [value, text] = typeof one === "string" ? [one, one] : one;
    return element("option", { value, selected: value === chosen }, text);
  }));
  return element("label", {}, name, select);
}

/** A table that scrolls sideways; columns are [name, class]. @param {string} label @param {[Child, string?][]} columns @param {Children} rows */
export const table = (label, columns, rows) => element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
  element("table", {}, element("thead", {}, element("tr", {}, columns.map(([name, kind]) =>
    element("th", { scope: "col", class: kind ?? null }, name)))), element("tbody", {}, rows)));
