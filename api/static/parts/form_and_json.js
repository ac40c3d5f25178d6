// @ts-check
// A form and the JSON that it makes, both ways, with what the server finds wrong in it; submitted at a button.

import { onlyOnce, Problem, send } from "../server/api.js";
import { parse, print } from "../server/json.js";
import { find, select } from "./editor.js";
import { element, fill } from "./element.js";

/** @typedef {import("../server/api.js").Fault} Fault */
/** @typedef {{ node: HTMLElement, show: (value: any) => void, mark: (faults: Fault[]) => void }} Form */

/**
 * @param {{ id: string, label: string, noun: string, button: string, path: string,
 *   form: (changed: (value: any) => void) => Form, meant?: (value: any) => any,
 *   asked: (judged: (faults: Fault[]) => void) => { node: HTMLElement, ask: (text: string) => void } }} parts `id` and `label` of the editor, the
 *   `noun` of what it holds, the `path` that it is sent to; `meant`: what the form shows of a typed value; `asked`: what is answered while typing
 * @returns {{ node: HTMLElement, write: (text: string, words: string) => void }} */
export function formAndJson({ id, label, noun, button, path, form: formOf, meant = (value) => value, asked }) {
  const editor = element("textarea", { spellcheck: "false", id, "aria-describedby": "faults", oninput: () => typed() });
  const about = element("p", { class: "quiet" }), faults = element("div", { id: "faults", "aria-live": "assertive" });
  const form = formOf((value) => { editor.value = print(value, 2); fill(faults); answers.ask(editor.value); });
  const answers = asked((found) => form.mark(found));

  const typed = () => {
    fill(faults);
    editor.removeAttribute("aria-invalid");
    let value;
    try { value = parse(editor.value); } catch { return; }  // while it is typed it is often no JSON
    if (value && typeof value === "object" && !Array.isArray(value)) form.show(meant(value));
    answers.ask(editor.value);
  };
  const mark = (/** @type {Fault[]} */ errors, /** @type {string} */ message) => {
    editor.setAttribute("aria-invalid", "true");
    fill(faults, element("div", { class: "errors" }, element("p", {}, errors.length ? `This ${noun} is not valid:` : message),
      element("ul", {}, errors.map(({ field, message: words }) => element("li", {},
        element("button", { type: "button", onclick: () => select(editor, find(editor.value, field)) }, field || noun), ` ${words}`)))));
    form.mark(errors);
    select(editor, errors.map(({ field }) => find(editor.value, field)).find(Boolean));
  };

  const run = element("button", { class: "main" }, button);
  const node = element("form", { onsubmit: async (/** @type {Event} */ event) => {
    event.preventDefault();
    try { JSON.parse(editor.value); } catch (error) { mark([], `This is not JSON: ${/** @type {Error} */ (error).message}`); return; }
    run.disabled = true;
    try {
      const made = await send("POST", path, editor.value, onlyOnce());
      location.hash = `/${path}/${made.id}`;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      mark(error.errors, error.message);
    } finally { run.disabled = false; }
  } },
  element("div", { class: "bar" }, run, about), faults, answers.node,
  element("div", { class: "beside" }, form.node, element("div", { class: "sticky" }, element("label", { for: id }, label), editor)));

  return { node, write(text, words) { editor.value = text; fill(about, words); typed(); } };
}
