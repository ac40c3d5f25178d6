// @ts-check
// One path that a sweep varies: its values as a list, or as a range.

import { parse, print } from "../server/json.js";
import { element, fill } from "./element.js";

/** @typedef {[string, any]} Entry a path and its values */
/** @typedef {{ field: string, label: string, entry: Entry, ranged: boolean, help: (path: string) => string, ranges: Record<string, any>, changed: () => void, anew: () => void, remove: () => void }} Given
 * `field` names it in faults and, with its path, in ids; `ranged`: a range says how many values it has; `ranges`: schemas of a range's fields */

const isRange = (/** @type {any} */ value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** Values as they stand in a field: JSON without the outer brackets. @param {any} value */
const written = (value) => (Array.isArray(value) ? value.map((one) => print(one)).join(", ") : print(value));

/** Values separated by commas; a word needs no quotes. Throws a SyntaxError. @param {string} typed @returns {any[]} */
export function readValues(typed) {
  const bare = typed.trim().replace(/,$/, "");
  try {
    return parse(`[${bare}]`);
  } catch (error) {
    const words = bare.split(",").map((one) => one.trim());
    if (!words.every((one) => /^[\w.+-]+$/.test(one))) throw error;
    return words.map((one) => { try { return parse(one); } catch { return one; } });
  }
}

/** A number as it was typed; what is none stays a text, which the server names. @param {string} typed */
const numeral = (typed) => { try { return parse(typed); } catch { return typed; } };

/** @param {Given} given */
export function axisRow({ field, label, entry, ranged, help, ranges, changed, anew, remove }) {
  const id = field.replaceAll(/[^\w-]/g, "-");
  const about = element("small", { class: "quiet" }), count = element("small", { class: "quiet" });
  const fault = element("small", { class: "bad", id: `${id}-fault` });
  const tell = () => {
    const [path, value] = entry, size = Array.isArray(value) ? value.length : ranged && isRange(value) ? Number(value.points) || 0 : null;
    fill(about, help(path));
    fill(count, size === null ? "" : `${size.toLocaleString()} value${size === 1 ? "" : "s"}`);
  };
  /** @type {Element[]} */
  const controls = [];
  const control = (/** @type {string} */ text, /** @type {any} */ node) => {
    node.setAttribute("aria-describedby", fault.id);
    controls.push(node);
    return element("label", {}, text, node);
  };
  const put = (/** @type {any} */ value) => { entry[1] = value; tell(); changed(); };
  const path = element("input", { id: `${id}-path`, list: "sweep-paths", value: entry[0], autocomplete: "off", spellcheck: "false", class: "path",
    oninput: () => { entry[0] = path.value.trim(); tell(); changed(); } });
  const kind = element("select", { id: `${id}-kind`, onchange: () => {
    const first = Array.isArray(entry[1]) ? entry[1][0] : entry[1]?.from, last = Array.isArray(entry[1]) ? entry[1].at(-1) : entry[1]?.to;
    entry[1] = kind.value === "list" ? [first, last].filter((one) => one !== undefined)
      : { from: first ?? 0.001, to: last !== undefined && last !== first ? last : 0.1, ...(ranged ? { points: 9 } : {}), spacing: "log" };
    anew();
    document.getElementById(`${id}-kind`)?.focus();
  } }, [["list", "values"], ["range", ranged ? "range" : "interval"]].map(([value, text]) =>
    element("option", { value, selected: (value === "range") === isRange(entry[1]) }, text)));
  const list = () => {
    const input = element("input", { id: `${id}-values`, value: written(entry[1]), autocomplete: "off", spellcheck: "false", oninput: () => {
      let values;
      try { values = readValues(input.value); } catch { return say("cannot be read as values separated by commas"); }
      say("");
      put(values);
    } });
    return [control("Values", input)];
  };
  const range = () => {
    const number = (/** @type {string} */ key) => {
      const input = element("input", { id: `${id}-${key}`, value: entry[1][key] === undefined ? "" : print(entry[1][key]).replaceAll('"', ""), autocomplete: "off",
        inputmode: "decimal", title: ranges[key]?.description ?? null, class: "short",
        oninput: () => { const { [key]: _, ...rest } = entry[1]; put(input.value.trim() ? { ...entry[1], [key]: numeral(input.value.trim()) } : rest); } });
      return control(key, input);
    };
    const spacing = element("select", { id: `${id}-spacing`, title: ranges.spacing?.description ?? null, onchange: () => put({ ...entry[1], spacing: spacing.value }) },
      ["linear", "log"].map((one) => element("option", { value: one, selected: one === (entry[1].spacing ?? "linear") }, one)));
    return [number("from"), number("to"), ...(ranged ? [number("points")] : []), control("spacing", spacing)];
  };
  const say = (/** @type {string} */ message) => {
    fill(fault, message);
    for (const one of controls) if (message) one.setAttribute("aria-invalid", "true"); else one.removeAttribute("aria-invalid");
  };
  const node = element("div", { class: "axis-row", role: "group", "aria-label": label },
    control("Path", path), control("As", kind), isRange(entry[1]) ? range() : list(),
    element("button", { type: "button", onclick: remove, "aria-label": `Remove ${label}` }, "Remove"),
    element("div", { class: "said" }, count, about, fault));
  tell();
  return { node, say, path: () => entry[0] };
}
