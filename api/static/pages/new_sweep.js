// @ts-check
// A new sweep: a form and its JSON, beside what is predicted of all combinations.

import { parse, print } from "../server/json.js";
import { element, title } from "../parts/element.js";
import { formAndJson } from "../parts/form_and_json.js";
import { cards, presets } from "../parts/presets.js";
import { schemas } from "../parts/spec_form.js";
import { sweepForm } from "../parts/sweep_form.js";
import { sweepPrediction } from "../parts/sweep_prediction.js";

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
  const { node, write } = formAndJson({ id: "request", label: "Sweep (JSON)", noun: "sweep", button: "Run all", path: "sweeps",
    form: (changed) => sweepForm(known, changed), meant: (request) => structuredClone(expanded(request, all)), asked: (judged) => sweepPrediction(signal, judged) });
  const choose = (/** @type {Preset} */ preset) => write(print(preset.body
    ?? { axes: AXES[preset.spec.data ? "data" : "regularization"], base: preset.spec }, 2), preset.description);
  const draft = search.get("draft") && sessionStorage.getItem("ncore-sweep");
  page.replaceChildren(element("h1", {}, "New sweep"),
    element("p", { class: "quiet" }, "One experiment for each combination of values, at most 10,000. All are queued or none."),
    cards(all, draft ? "" : all[0].name, choose), node);
  if (draft) write(print(parse(draft), 2), "A duplicate of an earlier sweep.");
  else choose(all[0]);
}
