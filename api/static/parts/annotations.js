// @ts-check
// Name, tags, notes and place in the queue of an experiment: shown, and changed in place.

import { send } from "../server/api.js";
import { element, fill, nameOf, named, tags } from "./element.js";

/** @typedef {import("./spec.js").Experiment & { notes: string, priority: number, archived: boolean, updated_at: string | null }} Annotated */

/** Shows what is known; `changed` takes the experiment as the server has it after a change.
 * @param {string} path @param {(item: Annotated) => void} changed @param {(label: string, work: () => unknown, attributes?: object) => HTMLButtonElement} act */
export function annotations(path, changed, act) {
  const head = element("div"), notes = element("div");
  /** @type {Annotated} */
  let item;
  let editing = false;
  const patch = async (/** @type {object} */ change) => {
    const fresh = await send("PATCH", path, change);
    editing = false;
    changed(fresh);
  };
  const archive = act("Archive", () => patch({ archived: !item.archived }));
  const edit = act("Edit", () => { editing = true; draw(); form.querySelector("input")?.focus(); }, { id: "edit" });
  const form = element("form", { class: "annotations", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); save.click(); } });
  const save = act("Save", async () => {
    const value = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name)).value;
    await patch({ name: value("name"), tags: value("tags").split(",").map((tag) => tag.trim()).filter(Boolean), notes: value("notes"), priority: Number(value("priority")) });
    edit.focus();
  }, { class: "main" });
  const open = () => fill(form,
    element("label", {}, "Name", element("input", { name: "name", value: item.name, maxlength: 200 })),
    element("label", {}, "Tags, separated by commas", element("input", { name: "tags", value: item.tags.join(", ") })),
    element("label", {}, "Priority in the queue", element("input", { name: "priority", type: "number", min: -100, max: 100, step: 1, value: item.priority })),
    element("label", {}, "Notes (Markdown)", element("textarea", { name: "notes", class: "short", maxlength: 20000 }, item.notes)),
    element("p", { class: "actions" }, save, act("Discard", () => { editing = false; draw(); edit.focus(); })));
  const draw = () => {
    fill(archive, item.archived ? "Show in lists again" : "Archive");
    fill(head, element("h1", {}, named(item)), element("p", { class: "quiet" }, element("code", {}, item.id), " ",
      item.archived ? element("span", { class: "tag archived" }, "archived") : null, tags(item.tags)));
    if (editing) {
      if (!form.isConnected) open();
      fill(notes, form);
    } else fill(notes, item.notes ? element("div", { class: "notes", role: "region", "aria-label": "Notes" }, marked(item.notes)) : null);
  };
  return {
    head, notes, edit, archive,
    /** @param {Annotated} fresh */
    show(fresh) {
      item = fresh;
      document.title = `${nameOf(item)} · ncore`;
      draw();
    },
  };
}

const BLOCKS = /\n{2,}/, BULLET = /^\s*[-*+] +/, HEADING = /^#{1,6} +/, FENCE = /^```[^\n]*\n([\s\S]*?)\n?```$/;
const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*|https?:\/\/[^\s<>()]+)/;

/** The usual part of Markdown: paragraphs, headings, lists, code, emphasis, addresses. @param {string} text */
const marked = (text) => text.trim().split(BLOCKS).map((block) => {
  const fenced = block.match(FENCE), lines = block.split("\n");
  if (fenced) return element("pre", {}, fenced[1]);
  if (HEADING.test(block) && lines.length === 1) return element("p", {}, element("strong", {}, ...inline(block.replace(HEADING, ""))));
  if (lines.every((line) => BULLET.test(line))) return element("ul", {}, lines.map((line) => element("li", {}, ...inline(line.replace(BULLET, "")))));
  return element("p", {}, ...lines.flatMap((line, i) => [i ? element("br") : null, ...inline(line)]));
});

/** @param {string} line */
const inline = (line) => line.split(INLINE).map((part) => {
  if (part.startsWith("`") && part.length > 2) return element("code", {}, part.slice(1, -1));
  if (part.startsWith("**") && part.length > 4) return element("strong", {}, part.slice(2, -2));
  if (part.startsWith("*") && part.endsWith("*") && part.length > 2) return element("em", {}, part.slice(1, -1));
  if (/^https?:\/\//.test(part)) return element("a", { href: part, rel: "noreferrer" }, part);
  return part;
});
