// @ts-check
// A new experiment: a form and its JSON, both ways, beside what is predicted.

import { onlyOnce, Problem, send } from "../server/api.js";
import { parse, print } from "../server/json.js";
import { keep } from "../parts/address.js";
import { find, select } from "../parts/editor.js";
import { element, fill, title } from "../parts/element.js";
import { prediction } from "../parts/prediction.js";
import { cards, presets } from "../parts/presets.js";
import { schemas, specForm } from "../parts/spec_form.js";

/** @param {import("../app.js").Place} place */
export async function show({ node: page, signal, search }) {
  title("New experiment");
  const [all, known] = await Promise.all([presets(signal), schemas()]);
  const editor = element("textarea", { spellcheck: "false", id: "spec", "aria-describedby": "faults", oninput: () => typed() });
  const about = element("p", { class: "quiet" });
  const faults = element("div", { id: "faults", "aria-live": "assertive" });
  const form = specForm(known, (spec) => { editor.value = print(spec, 2); fill(faults); theory.ask(editor.value); });
  const theory = prediction(signal, (found) => form.mark(found));

  const write = (/** @type {string} */ text, /** @type {string} */ words) => {
    editor.value = text;
    fill(about, words);
    typed();
  };
  const typed = () => {
    fill(faults);
    editor.removeAttribute("aria-invalid");
    let spec;
    try { spec = parse(editor.value); } catch { return; }  // while it is typed it is often no JSON
    if (spec && typeof spec === "object") form.show(spec);
    theory.ask(editor.value);
  };
  const mark = (/** @type {import("../server/api.js").Fault[]} */ errors, /** @type {string} */ message) => {
    editor.setAttribute("aria-invalid", "true");
    fill(faults, element("div", { class: "errors" }, element("p", {}, errors.length ? "This config is not valid:" : message),
      element("ul", {}, errors.map(({ field, message: text }) => element("li", {},
        element("button", { type: "button", onclick: () => select(editor, find(editor.value, field)) }, field || "spec"), ` ${text}`)))));
    form.mark(errors);
    select(editor, errors.map(({ field }) => find(editor.value, field)).find(Boolean));
  };

  const run = element("button", { class: "main" }, "Run");
  const whole = element("form", { onsubmit: async (/** @type {Event} */ event) => {
    event.preventDefault();
    try { JSON.parse(editor.value); } catch (error) { mark([], `This is not JSON: ${/** @type {Error} */ (error).message}`); return; }
    run.disabled = true;
    try {
      const made = await send("POST", "experiments", editor.value, onlyOnce());
      location.hash = `/experiments/${made.id}`;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      mark(error.errors, error.message);
    } finally { run.disabled = false; }
  } },
  element("div", { class: "bar" }, run, about), faults, theory.node,
  element("div", { class: "beside" }, form.node,
    element("div", { class: "sticky" }, element("label", { for: "spec" }, "Config (JSON)"), editor)));

  const draft = search.get("draft") && sessionStorage.getItem("ncore-draft");
  const start = all.find(({ name }) => name === search.get("preset")) ?? all[0];
  page.replaceChildren(element("h1", {}, "New experiment"),
    cards(all, draft ? "" : start.name, (preset) => { keep({ preset: preset.name }); write(print(preset.spec, 2), preset.description); }), whole);
  if (draft) write(draft, "A duplicate of an earlier experiment’s config.");
  else write(print(start.spec, 2), start.description);
}
