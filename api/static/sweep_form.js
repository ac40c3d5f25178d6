// A new sweep: the spec that is varied, and its axes, a line each.

import { parse, print } from "./json.js";
import { ask, send, Problem } from "./server.js";
import { element, fill, title } from "./page.js";
import { find, key, select } from "./submit.js";

const AXES = { regularization: "regularization.features=[0.002, 0.005, 0.02]", data: "optimizer.learning_rate=[0.01, 0.05]" };
const PARTS = ["name", "axes"];

// {path: values} of lines path=[…], the values as they were typed. Throws a Problem of the kind that the server answers with.
function axesOf(text) {
  const axes = Object.create(null), errors = [];  // a path may have any name
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const [, path, list] = line.match(/^([^=\s]+)\s*=\s*(.*)$/) ?? [];
    const refuse = (message) => errors.push({ field: path ? `axes.${path}` : "axes", message });
    let values = null;
    try { values = JSON.parse(list); } catch { values = null; }
    if (!Array.isArray(values)) refuse(`must be path=[value, …] with values as JSON; got ${line}`);
    else if (path in axes) refuse("stands here twice; give all its values in one line");
    else axes[path] = { text: list, size: values.length };
  }
  if (errors.length) throw new Problem({ detail: "The axes cannot be read.", errors }, 422);
  return axes;
}

function specOf(text) {
  try {
    JSON.parse(text);
    return text;
  } catch (error) {
    throw new Problem({ errors: [{ field: "base", message: `is not JSON: ${error.message}` }] }, 422);
  }
}

const linesOf = (axes) => Object.entries(axes).map(([path, values]) => `${path}=${print(values)}`).join("\n");

const counted = (text) => {
  try {
    const sizes = Object.values(axesOf(text)).map(({ size }) => size);
    const total = sizes.reduce((product, size) => product * size, 1);
    return sizes.length ? `${sizes.join(" × ")}${sizes.length > 1 ? ` = ${total.toLocaleString()}` : ""} experiment${total === 1 ? "" : "s"}` : "";
  } catch { return ""; }
};

const LABELS = { name: "Name", axes: "Axes, a line each: path=[value, …]", base: "Base: spec (JSON), or {\"preset\": …, \"set\": {…}}" };

// A field, with the place of its faults beneath its label.
function field(name, control) {
  const faults = element("div", { id: `${name}-faults` });
  control.id = name;
  control.setAttribute("aria-describedby", faults.id);
  return { control, faults, node: element("div", { class: "field" }, element("label", { for: name }, LABELS[name]), faults, control) };
}

export async function sweepForm(page, signal, search) {
  title("New sweep");
  const presets = (await ask("presets", { signal })).items;
  const fields = {
    name: field("name", element("input", { maxlength: 200, autocomplete: "off" })),
    axes: field("axes", element("textarea", { spellcheck: "false", class: "short", oninput: () => count() })),
    base: field("base", element("textarea", { spellcheck: "false" })),
  };
  const { name, axes, base } = Object.fromEntries(Object.entries(fields).map(([one, { control }]) => [one, control]));
  const amount = element("output", { class: "quiet", for: "axes" }), note = element("div", { role: "alert" });
  const count = () => { amount.textContent = counted(axes.value); };
  const clear = () => {
    fill(note);
    for (const one of Object.values(fields)) { fill(one.faults); one.control.removeAttribute("aria-invalid"); }
  };
  const choose = (wanted) => {
    const preset = presets.find((one) => one.name === wanted);
    if (!preset) return;
    base.value = print(preset.spec, 2);
    if (!axes.value || Object.values(AXES).includes(axes.value)) axes.value = AXES[preset.spec.data ? "data" : "regularization"];
    clear();
    count();
  };

  // Which field a fault belongs to, and where in its text it is.
  const placeOf = ({ field: path }) => PARTS.find((part) => path === part || path.startsWith(`${part}.`)) ?? "base";
  const spotOf = (fault) => {
    if (placeOf(fault) !== "axes") return find(base.value, fault.field.replace(/^base\./, ""));
    const path = fault.field.slice("axes.".length), from = path ? axes.value.indexOf(path) : -1;
    return from < 0 ? null : [from, from + path.length];
  };
  const show = (errors, message) => {
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

  const button = element("button", { class: "main" }, "Run all");
  const form = element("form", { onsubmit: async (event) => {
    event.preventDefault();
    clear();
    button.disabled = true;
    try {
      const lists = Object.entries(axesOf(axes.value)).map(([path, { text }]) => `${print(path)}: ${text}`);
      const body = `{"name": ${print(name.value)}, "axes": {${lists}}, "base": ${specOf(base.value)}}`;
      const made = await send("POST", "sweeps", body, { "Idempotency-Key": key() });
      location.hash = `/sweeps/${made.id}`;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      show(error.errors, error.message);
    } finally { button.disabled = false; }
  } });
  const start = element("select", { onchange: (event) => choose(event.target.value) },
    presets.map((preset) => element("option", { value: preset.name }, preset.title ?? preset.name)));
  form.append(element("div", { class: "bar" }, element("label", {}, "Start from", start), button, amount), note,
    fields.name.node, fields.axes.node, fields.base.node);
  page.replaceChildren(element("h1", {}, "New sweep"),
    element("p", { class: "quiet" }, "One experiment for each combination of the axes’ values, at most 10,000, all of them or none."), form);
  choose(presets[0]?.name);
  const draft = search.get("draft") && parse(sessionStorage.getItem("ncore-sweep") ?? "null");
  if (!draft) return;
  name.value = draft.name;
  base.value = print(draft.base, 2);
  axes.value = linesOf(draft.axes);
  count();
}
