// @ts-check
// A new sweep: a form and its JSON, both ways, beside what is predicted of all combinations.

import { onlyOnce, Problem, send } from "../server/api.js";
import { parse, print } from "../server/json.js";
import { find, select } from "../parts/editor.js";
import { element, fill, title } from "../parts/element.js";
import { cards, presets } from "../parts/presets.js";
import { schemas } from "../parts/spec_form.js";
import { sweepForm } from "../parts/sweep_form.js";
import { sweepPrediction } from "../parts/sweep_prediction.js";

/** @typedef {import("../server/api.js").Fault} Fault */
/** @typedef {import("../parts/presets.js").Preset} Preset */

const AXES = { regularization: { "regularization.features": [0.002, 0.005, 0.02] }, data: { "optimizer.learning_rate": [0.01, 0.05] } };

/** A copy with dotted paths set. @param {any} spec @param {Record<string, any>} changes */
function withChanges(spec, changes) {
  const made = structuredClone(spec);
  for (const [path, value] of Object.entries(changes ?? {})) {
    const keys = path.split("."), last = keys.pop() ?? "";
    keys.reduce((at, key) => (at[key] ??= {}), made)[last] = value;
  }
  return made;
}

/** The request with its presets written out; itself where they are not known, which the server says. @param {any} request @param {Preset[]} all */
function expanded(request, all) {
  const called = (/** @type {string} */ name, /** @type {boolean} */ isSweep) => all.find((one) => one.name === name && Boolean(one.body) === isSweep);
  const { preset, set, ...rest } = request, whole = called(preset, true);
  if (whole) return { ...structuredClone(whole.body), ...rest, base: withChanges(whole.body.base, set) };
  const base = called(request.base?.preset, false);
  return base ? { ...request, base: withChanges(base.spec, request.base.set) } : request;
}

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search }) {
  title("New sweep");
  const [one, several, known] = await Promise.all([presets(signal), presets(signal, "sweep"), schemas()]);
  const all = [...one, ...several];
  const editor = element("textarea", { spellcheck: "false", id: "request", "aria-describedby": "faults", oninput: () => typed() });
  const about = element("p", { class: "quiet" }), faults = element("div", { id: "faults", "aria-live": "assertive" });
  const form = sweepForm(known, (request) => { editor.value = print(request, 2); fill(faults); estimate.ask(editor.value); });
  const estimate = sweepPrediction(signal, (found) => form.mark(found));

  const write = (/** @type {any} */ request, /** @type {string} */ words) => {
    editor.value = print(request, 2);
    fill(about, words);
    typed();
  };
  const typed = () => {
    fill(faults);
    editor.removeAttribute("aria-invalid");
    let request;
    try { request = parse(editor.value); } catch { return; }  // while it is typed it is often no JSON
    if (request && typeof request === "object" && !Array.isArray(request)) form.show(structuredClone(expanded(request, all)));
    estimate.ask(editor.value);
  };
  const choose = (/** @type {Preset} */ preset) => {
    if (preset.body) return write(preset.body, preset.description);
    write({ axes: AXES[preset.spec.data ? "data" : "regularization"], base: preset.spec }, preset.description);
  };
  const mark = (/** @type {Fault[]} */ errors, /** @type {string} */ message) => {
    editor.setAttribute("aria-invalid", "true");
    fill(faults, element("div", { class: "errors" }, element("p", {}, errors.length ? "This sweep is not valid:" : message),
      element("ul", {}, errors.map(({ field, message: words }) => element("li", {},
        element("button", { type: "button", onclick: () => select(editor, find(editor.value, field)) }, field || "sweep"), ` ${words}`)))));
    form.mark(errors);
    select(editor, errors.map(({ field }) => find(editor.value, field)).find(Boolean));
  };

  const run = element("button", { class: "main" }, "Run all");
  const whole = element("form", { onsubmit: async (/** @type {Event} */ event) => {
    event.preventDefault();
    try { JSON.parse(editor.value); } catch (error) { mark([], `This is not JSON: ${/** @type {Error} */ (error).message}`); return; }
    run.disabled = true;
    try {
      const made = await send("POST", "sweeps", editor.value, onlyOnce());
      location.hash = `/sweeps/${made.id}`;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      mark(error.errors, error.message);
    } finally { run.disabled = false; }
  } }, element("div", { class: "bar" }, run, about), faults, estimate.node,
  element("div", { class: "beside" }, form.node,
    element("div", { class: "sticky" }, element("label", { for: "request" }, "Sweep (JSON)"), editor)));

  const draft = search.get("draft") && parse(sessionStorage.getItem("ncore-sweep") ?? "null");
  page.replaceChildren(element("h1", {}, "New sweep"),
    element("p", { class: "quiet" }, "One experiment for each combination of values, at most 10,000. All are queued or none."),
    cards(all, draft ? "" : all[0].name, choose), whole);
  if (draft) write(draft, "A duplicate of an earlier sweep.");
  else choose(all[0]);
}
