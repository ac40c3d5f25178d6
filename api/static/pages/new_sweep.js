// @ts-check
// A new sweep: the config that is varied, and its axes, a line each.

import { onlyOnce, Problem, send } from "../server/api.js";
import { parse, print } from "../server/json.js";
import { find, select } from "../parts/editor.js";
import { element, fill, title } from "../parts/element.js";
import { prediction } from "../parts/prediction.js";
import { cards, presets } from "../parts/presets.js";

const AXES = { regularization: "regularization.features=[0.002, 0.005, 0.02]", data: "optimizer.learning_rate=[0.01, 0.05]" };
const PARTS = ["name", "axes", "more"];
/** What a request has beside name, axes and base. */
const MORE = ["zip", "sample", "refine", "picture"];
/** @type {Record<string, string>} */
const LABELS = { name: "Name", axes: "Axes, a line each: path=[value, …] or path={\"from\": …, \"to\": …, \"points\": …, \"spacing\": \"log\"}",
  more: "More (JSON, may be empty): {\"zip\": …, \"sample\": …, \"refine\": …}", base: "Base config (JSON), or {\"preset\": …, \"set\": {…}}" };

/** @typedef {import("../server/api.js").Fault} Fault */
/** @typedef {{ control: HTMLInputElement | HTMLTextAreaElement, faults: HTMLElement, node: HTMLElement }} Field */

/** {path: its values as they were typed} of lines path=[…] or path={…}. Throws a Problem of the kind that the server answers with.
 * @param {string} text @returns {Record<string, { text: string, size: number }>} */
function axesOf(text) {
  const axes = Object.create(null);  // a path may have any name
  /** @type {Fault[]} */
  const errors = [];
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const [, path, list] = line.match(/^([^=\s]+)\s*=\s*(.*)$/) ?? [];
    const refuse = (/** @type {string} */ message) => errors.push({ field: path ? `axes.${path}` : "axes", message });
    let values = null;
    try { values = JSON.parse(list); } catch { values = null; }
    if (values === null || typeof values !== "object") refuse(`must be path=[value, …] with values as JSON; got ${line}`);
    else if (path in axes) refuse("is given twice; write all its values in one line");
    else axes[path] = { text: list, size: Array.isArray(values) ? values.length : Number(values.points) || 0 };
  }
  if (errors.length) throw new Problem({ detail: "The axes cannot be read.", errors }, 422);
  return axes;
}

/** @param {string} text @param {string} name of its field */
function checked(text, name) {
  try {
    JSON.parse(text);
    return text;
  } catch (error) {
    throw new Problem({ errors: [{ field: name, message: `is not JSON: ${/** @type {Error} */ (error).message}` }] }, 422);
  }
}

/** The other forms as they were typed: what stands between the braces, with a comma before it. @param {string} text */
function inside(text) {
  const bare = text.trim();
  if (!bare) return "";
  if (!/^\{[^]*\}$/.test(checked(bare, "more"))) throw new Problem({ errors: [{ field: "more", message: "must be an object in braces" }] }, 422);
  const inner = bare.slice(1, -1).trim();
  return inner ? `, ${inner}` : "";
}

/** The other forms of a request, as text. @param {any} request */
const moreOf = (request) => {
  const kept = Object.fromEntries(MORE.filter((name) => request?.[name] && Object.keys(request[name]).length).map((name) => [name, request[name]]));
  return Object.keys(kept).length ? print(kept, 2) : "";
};

/** @param {Record<string, unknown>} axes */
const linesOf = (axes) => Object.entries(axes).map(([path, values]) => `${path}=${print(values)}`).join("\n");

/** @param {string} text */
const counted = (text) => {
  try {
    const sizes = Object.values(axesOf(text)).map(({ size }) => size);
    const total = sizes.reduce((product, size) => product * size, 1);
    return sizes.length ? `${sizes.join(" × ")}${sizes.length > 1 ? ` = ${total.toLocaleString()}` : ""} experiment${total === 1 ? "" : "s"}` : "";
  } catch { return ""; }
};

/** A combination's config: the base with the first value of each axis, or with the last. Throws where it cannot be read.
 * @param {string} base @param {string} axes @param {boolean} isLast */
function combination(base, axes, isLast) {
  const config = parse(base);
  for (const [path, { text }] of Object.entries(axesOf(axes))) {
    const given = parse(text), value = Array.isArray(given) ? given.at(isLast ? -1 : 0) : isLast ? given.to : given.from;
    if (value === undefined) continue;
    if (config.preset !== undefined) config.set = { ...config.set, [path]: value };
    else {
      const keys = path.split("."), last = keys.pop() ?? "";
      keys.reduce((at, key) => (Object.hasOwn(at, key) ? at[key] : (at[key] = {})), config)[last] = value;
    }
  }
  return print(config);
}

/** A field, with the place of its faults beneath its label. @param {string} name @param {HTMLInputElement | HTMLTextAreaElement} control @returns {Field} */
function field(name, control) {
  const faults = element("div", { id: `${name}-faults` });
  control.id = name;
  control.setAttribute("aria-describedby", faults.id);
  return { control, faults, node: element("div", { class: "field" }, element("label", { for: name }, LABELS[name]), faults, control) };
}

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search }) {
  title("New sweep");
  const all = [...await presets(signal), ...await presets(signal, "sweep")];
  const ends = ["First combination", "Last combination"].map((name) => prediction(signal, () => {}, name));
  /** How many there are, and what is predicted at the ends of the axes. */
  const count = () => {
    fill(amount, counted(axes.value));
    ends.forEach((end, i) => {
      try { end.ask(combination(base.value, axes.value, i > 0)); } catch { return; }  // while it is typed it is often no JSON
    });
  };
  /** @type {Record<string, Field>} */
  const fields = {
    name: field("name", element("input", { maxlength: 200, autocomplete: "off" })),
    axes: field("axes", element("textarea", { spellcheck: "false", class: "short", oninput: () => count() })),
    more: field("more", element("textarea", { spellcheck: "false", class: "short" })),
    base: field("base", element("textarea", { spellcheck: "false", oninput: () => count() })),
  };
  const [name, axes, more, base] = [fields.name.control, fields.axes.control, fields.more.control, fields.base.control];
  const amount = element("output", { class: "quiet", for: "axes" }), note = element("div", { role: "alert" });
  const clear = () => {
    fill(note);
    for (const one of Object.values(fields)) { fill(one.faults); one.control.removeAttribute("aria-invalid"); }
  };
  const write = (/** @type {any} */ request) => {
    name.value = request.name ?? "";
    base.value = print(request.base, 2);
    axes.value = linesOf(request.axes ?? {});
    more.value = moreOf(request);
    clear();
    count();
  };
  const choose = (/** @type {import("../parts/presets.js").Preset} */ preset) => {
    if (preset.body) return write(preset.body);
    more.value = "";
    base.value = print(preset.spec, 2);
    if (!axes.value || Object.values(AXES).includes(axes.value)) axes.value = AXES[preset.spec.data ? "data" : "regularization"];
    clear();
    count();
  };

  // Which field a fault belongs to, and where in its text it is.
  const placeOf = (/** @type {Fault} */ { field: path }) => (MORE.includes(path.split(".")[0]) ? "more"
    : PARTS.find((part) => path === part || path.startsWith(`${part}.`)) ?? "base");
  const spotOf = (/** @type {Fault} */ fault) => {
    if (placeOf(fault) === "base") return find(base.value, fault.field.replace(/^base\./, ""));
    if (placeOf(fault) !== "axes") return null;
    const path = fault.field.slice("axes.".length), from = path ? axes.value.indexOf(path) : -1;
    return from < 0 ? null : /** @type {[number, number]} */ ([from, from + path.length]);
  };
  const mark = (/** @type {Fault[]} */ errors, /** @type {string} */ message) => {
    if (!errors.length) fill(note, element("div", { class: "errors" }, element("p", {}, message)));
    for (const [part, { control, faults }] of Object.entries(fields)) {
      const mine = errors.filter((one) => placeOf(one) === part);
      if (!mine.length) continue;
      control.setAttribute("aria-invalid", "true");
      fill(faults, element("ul", { class: "errors", role: "alert" }, mine.map((one) => element("li", {},
        element("button", { type: "button", onclick: () => select(control, spotOf(one)) }, one.field || part), ` ${one.message}`))));
    }
    const first = Object.keys(fields).map((part) => errors.find((one) => placeOf(one) === part)).find(Boolean);
    if (first) select(fields[placeOf(first)].control, spotOf(first));
  };

  const run = element("button", { class: "main" }, "Run all");
  const form = element("form", { onsubmit: async (/** @type {Event} */ event) => {
    event.preventDefault();
    clear();
    run.disabled = true;
    try {
      const lists = Object.entries(axesOf(axes.value)).map(([path, { text }]) => `${print(path)}: ${text}`);
      const body = `{"name": ${print(name.value)}, "axes": {${lists}}, "base": ${checked(base.value, "base")}${inside(more.value)}}`;
      const made = await send("POST", "sweeps", body, onlyOnce());
      location.hash = `/sweeps/${made.id}`;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      mark(error.errors, error.message);
    } finally { run.disabled = false; }
  } }, element("div", { class: "bar" }, run, amount), note, fields.name.node, fields.axes.node, element("div", { class: "ends" }, ends.map((end) => end.node)), fields.more.node, fields.base.node);
  const draft = search.get("draft") && parse(sessionStorage.getItem("ncore-sweep") ?? "null");
  page.replaceChildren(element("h1", {}, "New sweep"),
    element("p", { class: "quiet" }, "One experiment for each combination of the axes’ values, at most 10,000. All are queued or none."),
    cards(all, draft ? "" : all[0].name, choose), form);
  choose(all[0]);
  if (!draft) return;
  write(draft);
}
