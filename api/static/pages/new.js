// @ts-check
// A new experiment: a form and its JSON, beside what is predicted.

import { print } from "../server/json.js";
import { keep } from "../parts/address.js";
import { element, title } from "../parts/element.js";
import { formAndJson } from "../parts/form_and_json.js";
import { prediction } from "../parts/prediction.js";
import { cards, presets } from "../parts/presets.js";
import { schemas, specForm } from "../parts/spec_form.js";

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search }) {
  title("New experiment");
  const [all, known] = await Promise.all([presets(signal), schemas()]);
  const { node, write } = formAndJson({ id: "spec", label: "Config (JSON)", noun: "config", button: "Run", path: "experiments",
    form: (changed) => specForm(known, changed), asked: (judged) => prediction(signal, judged) });
  const draft = search.get("draft") && sessionStorage.getItem("ncore-draft");
  const start = all.find(({ name }) => name === search.get("preset")) ?? all[0];
  page.replaceChildren(element("h1", {}, "New experiment"),
    cards(all, draft ? "" : start.name, (preset) => { keep({ preset: preset.name }); write(print(preset.spec, 2), preset.description); }), node);
  if (draft) write(draft, "A duplicate of an earlier experiment’s config.");
  else write(print(start.spec, 2), start.description);
}
