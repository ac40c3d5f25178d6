// @ts-check
// A form for a spec, made from the API's own schema: a field for each value, with its help, bounds and default.

import { ask } from "../server/api.js";
import { parse, print } from "../server/json.js";
import { element, fill } from "./element.js";

/** @typedef {any} Schema as OpenAPI writes it */

/** @type {Promise<Record<string, Schema>> | null} */
let loading = null;
export const schemas = () => (loading ??= ask("openapi.json").then((api) => api.components.schemas));

/** The schema of a spec, by what is in it. @param {Record<string, Schema>} all @param {any} spec @returns {Schema} */
const ofSpec = (all, spec) => /** @type {Record<string, any>} */ ({ ufm: all.UfmSpec, external: all.ExternalSpec })[
  spec?.model?.kind ?? (spec?.data ? "network" : "ufm")] ?? all.NetworkSpec;

/** The help for a dotted path of a spec, "" where there is none. @param {Record<string, Schema>} all @param {any} spec @param {string} path */
export function helpOf(all, spec, path) {
  let schema = ofSpec(all, spec), value = spec;
  for (const key of path.split(".")) {
    if (/^\d+$/.test(key)) continue;  // an entry of a list: what is said of the list
    schema = schema?.properties?.[key];
    value = value?.[key];
    if (!schema) return "";
    schema = resolved(all, schema, value);
  }
  return [schema.description, bounds(schema)].filter(Boolean).join("; ");
}

/** The schema itself, and of several the one that is meant by the value. @param {Record<string, Schema>} all @param {Schema} schema @param {any} value @returns {Schema} */
function resolved(all, schema, value) {
  if (schema?.$ref) return resolved(all, all[schema.$ref.split("/").at(-1)], value);
  const members = (schema?.oneOf ?? schema?.anyOf)?.map((/** @type {Schema} */ one) => resolved(all, one, value));
  const objects = members?.filter((/** @type {Schema} */ one) => one.properties) ?? [];
  if (!objects.length) return schema;
  if (objects.length < members.length && (typeof value !== "object" || value === null)) {  // a name, or nothing, in place of an object
    const names = members.filter((/** @type {Schema} */ one) => !one.properties);
    return { ...schema, oneOf: undefined, anyOf: names.length > 1 ? names : undefined, ...(names.length > 1 ? {} : names[0]), description: schema.description };
  }
  const kind = schema.discriminator?.propertyName;
  const fits = (/** @type {Schema} */ one) => (kind ? one.properties[kind].const === value?.[kind]
    : Object.keys(value ?? {}).every((key) => key in one.properties) && (one.properties.kind?.const ?? value?.kind) === value?.kind);
  return { ...(objects.find(fits) ?? objects[0]), kinds: kind ? Object.keys(schema.discriminator.mapping) : null };
}

/** @param {Schema} schema */
const isList = (schema) => schema.type === "array" || schema.oneOf?.some((/** @type {Schema} */ one) => one.type === "array");
/** @param {Schema} schema */
const isText = (schema) => (schema.anyOf ?? [schema]).some((/** @type {Schema} */ one) => one.type === "string");

/** A value as it stands in its field: lists without brackets, texts without quotes. @param {any} value */
const written = (value) => (value === undefined || value === null ? "" : Array.isArray(value)
  ? value.map((one) => (typeof one === "string" ? one : print(one))).join(", ") : typeof value === "string" ? value : print(value));

/** What was typed, as a value; undefined where nothing was. Throws a SyntaxError. @param {string} typed @param {Schema} schema */
function read(typed, schema) {
  const bare = typed.trim();
  if (!bare) return undefined;
  if (isList(schema) && schema.items?.type === "string") return bare.split(",").map((one) => one.trim()).filter(Boolean);
  if (isList(schema) && (schema.type === "array" || bare.includes(","))) return parse(bare.startsWith("[") ? bare : `[${bare}]`);
  return isText(schema) ? typed : parse(bare);
}

/** @param {Schema} schema */
const bounds = (schema) => (schema.oneOf ?? [schema]).slice(0, 1).flatMap((/** @type {Schema} */ one) => [
  one.minimum !== undefined ? `≥ ${one.minimum}` : null, one.exclusiveMinimum !== undefined ? `> ${one.exclusiveMinimum}` : null,
  one.maximum !== undefined ? `≤ ${one.maximum}` : null, one.exclusiveMaximum !== undefined ? `< ${one.exclusiveMaximum}` : null])
  .filter(Boolean).join(", ");

/**
 * @param {Record<string, Schema>} all
 * @param {(spec: any) => void} changed called with the whole spec after each change of a field
 * @param {string} [before] in front of the ids of its fields, where a page has several forms
 */
export function specForm(all, changed, before = "") {
  const node = element("div", { class: "spec-form" });
  /** @type {any} */
  let spec = {};
  /** @type {Schema | null} */
  let own = null;
  /** @type {Map<string, { control: HTMLElement, fault: HTMLElement }>} */
  const fields = new Map();

  const put = (/** @type {string[]} */ path, /** @type {any} */ value) => {
    let at = spec;
    for (const key of path.slice(0, -1)) at = at[key] ??= {};
    if (value === undefined) delete at[path.at(-1) ?? ""]; else at[path.at(-1) ?? ""] = value;
  };
  const say = (/** @type {string} */ name, /** @type {string} */ message) => {
    const field = fields.get(name);
    if (!field) return;
    fill(field.fault, message);
    if (message) field.control.setAttribute("aria-invalid", "true"); else field.control.removeAttribute("aria-invalid");
  };
  const control = (/** @type {Schema} */ schema, /** @type {any} */ value, /** @type {string[]} */ path, /** @type {string[] | null} */ kinds) => {
    const name = path.join("."), id = `field-${before}${name}`;
    const set = (/** @type {any} */ one) => { put(path, one); changed(spec); };
    const options = kinds ?? schema.enum;
    if (options) {
      const select = element("select", { id, onchange: () => {
        if (!kinds) return set(select.value);
        put(path.slice(0, -1), { kind: select.value });  // another kind has other fields
        show(spec, own);
        changed(spec);
        document.getElementById(id)?.focus();
      } }, options.map((/** @type {string} */ one) => element("option", { value: one, selected: one === (value ?? schema.default) }, one)));
      return select;
    }
    if (schema.type === "boolean") {
      const box = element("input", { id, type: "checkbox", checked: value ?? schema.default, onchange: () => set(box.checked) });
      return box;
    }
    const input = element("input", { id, value: written(value), placeholder: written(schema.default), autocomplete: "off", spellcheck: "false",
      title: bounds(schema), oninput: () => {
        try {
          set(read(input.value, schema));
        } catch { say(name, `cannot be read as ${isList(schema) ? "numbers, separated by commas" : "a number"}`); }
      } });
    return input;
  };
  const field = (/** @type {string} */ key, /** @type {Schema} */ schema, /** @type {any} */ value, /** @type {string[]} */ path, /** @type {string[] | null} */ kinds) => {
    const made = control(schema, value, path, kinds), name = path.join("."), fault = element("small", { class: "bad", id: `fault-${before}${name}` });
    made.setAttribute("aria-describedby", fault.id);
    fields.set(name, { control: made, fault });
    return element("div", { class: "spec-field" }, element("label", { for: made.id }, key.replaceAll("_", " ")), made,
      schema.description ? element("small", { class: "quiet" }, schema.description) : null, fault);
  };
  const group = (/** @type {Schema} */ schema, /** @type {any} */ value, /** @type {string[]} */ path) => {
    /** @type {HTMLElement[]} */
    const plain = [];
    /** @type {HTMLElement[]} */
    const nested = [];
    for (const [key, one] of Object.entries(schema.properties)) {
      const inner = resolved(all, one, value?.[key]), at = [...path, key];
      if (inner.properties) {
        nested.push(element("fieldset", {}, element("legend", {}, key), group(inner, value?.[key], at)));
      } else if (key === "kind" && schema.kinds) plain.push(field(key, inner, value?.[key], at, schema.kinds));
      else if (inner.const === undefined) plain.push(field(key, inner, value?.[key], at, null));
    }
    return element("div", {}, element("div", { class: "spec-group" }, plain), nested);
  };
  /** @param {any} given what is shown and changed @param {Schema | null} [schema] that of a spec unless given */
  const show = (given, schema = null) => {
    spec = given;
    own = schema;
    fields.clear();
    fill(node, group(schema ?? ofSpec(all, given), given, []));
  };
  return {
    node,
    show,
    /** Marks the fields that have a fault, and clears the others. @param {import("../server/api.js").Fault[]} faults
     * @returns {import("../server/api.js").Fault[]} those of no field */
    mark(faults) {
      const left = new Set(faults);
      for (const name of fields.keys()) {
        const mine = faults.filter(({ field: path }) => path === name || path.startsWith(`${name}.`));
        say(name, mine.map(({ message }) => message).join("; "));
        for (const one of mine) left.delete(one);
      }
      return [...left];
    },
  };
}
