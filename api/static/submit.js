import { print } from "./json.js";
import { ask, send, Problem } from "./server.js";
import { element, title } from "./page.js";

// The place of a dotted path in the text: keys one after another, so that the fault can be shown where it stands.
export function find(text, field) {
  let from = 0, hit = null;
  for (const key of field.split(".")) {
    const at = text.indexOf(`"${key}"`, from);
    if (at < 0) break;
    hit = [at, at + key.length + 2];
    from = hit[1];
  }
  return hit;
}

// The editor with the focus, and what is at `place` selected and in sight.
export function select(editor, place) {
  const line = parseFloat(getComputedStyle(editor).lineHeight);
  editor.focus();
  if (!place) return;
  editor.setSelectionRange(...place);
  editor.scrollTop = line * (editor.value.slice(0, place[0]).split("\n").length - 4);
}

export const key = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

export async function submit(page, signal, search) {
  title("New experiment");
  const answer = await ask("presets", { signal });
  const presets = answer.items ?? answer;
  const editor = element("textarea", { spellcheck: "false", id: "spec", "aria-describedby": "faults" });
  const about = element("p", { class: "quiet" });
  const faults = element("div", { id: "faults", "aria-live": "assertive" });
  const choose = (name) => {
    const preset = presets.find((one) => one.name === name);
    if (!preset) return;
    editor.value = print(preset.spec, 2);
    about.textContent = preset.description;
    faults.replaceChildren();
  };
  const start = element("select", { onchange: (event) => choose(event.target.value) },
    presets.map((preset) => element("option", { value: preset.name }, preset.title ?? preset.name)));

  const mark = (errors, message) => {
    editor.setAttribute("aria-invalid", "true");
    faults.replaceChildren(element("div", { class: "errors" }, element("p", {}, errors.length ? "The spec cannot be run:" : message),
      element("ul", {}, errors.map(({ field, message: text }) => element("li", {},
        element("button", { type: "button", onclick: () => select(editor, find(editor.value, field)) }, field || "spec"), ` ${text}`)))));
    select(editor, errors.map(({ field }) => find(editor.value, field)).find(Boolean));
  };

  const form = element("form", { onsubmit: async (event) => {
    event.preventDefault();
    try { JSON.parse(editor.value); } catch (error) { mark([], `This is not JSON: ${error.message}`); return; }
    button.disabled = true;
    try {
      const made = await send("POST", "experiments", editor.value, { "Idempotency-Key": key() });
      location.hash = `/experiments/${made.id}`;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      mark(error.errors, error.message);
    } finally { button.disabled = false; }
  } });
  const button = element("button", { class: "main" }, "Run");
  form.append(
    element("div", { class: "bar" }, element("label", {}, "Start from", start), button), about,
    faults, element("label", { for: "spec" }, "Spec (JSON)"), editor);
  page.replaceChildren(element("h1", {}, "New experiment"), form);
  choose(search.get("preset") ?? presets[0]?.name);
  const draft = sessionStorage.getItem("ncore-draft");
  if (search.get("draft") && draft) { editor.value = draft; about.textContent = "A copy of an earlier experiment's spec."; }
}
