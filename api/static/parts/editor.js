// @ts-check
// A text area that holds JSON, and the places of faults in it.

/** The place of a dotted path in the text: keys one after another, several of which may be one key with dots.
 * @param {string} text @param {string} field @returns {[number, number] | null} */
export function find(text, field) {
  const parts = field.split(".");
  let from = 0;
  /** @type {[number, number] | null} */
  let hit = null;
  while (parts.length) {
    const longest = parts.map((_, i) => parts.slice(0, parts.length - i).join(".")).find((key) => text.indexOf(`"${key}"`, from) >= 0);
    if (longest === undefined) {
      if (!/^\d+$/.test(parts[0])) break;
      parts.shift();  // the number of an entry
      continue;
    }
    const at = text.indexOf(`"${longest}"`, from);
    hit = [at, at + longest.length + 2];
    from = hit[1];
    parts.splice(0, longest.split(".").length);
  }
  return hit;
}

/** Gives the editor the focus, and selects the place. @param {HTMLTextAreaElement | HTMLInputElement} editor @param {[number, number] | null | undefined} place */
export function select(editor, place) {
  const line = parseFloat(getComputedStyle(editor).lineHeight);
  editor.focus();
  if (!place) return;
  editor.setSelectionRange(...place);
  editor.scrollTop = line * (editor.value.slice(0, place[0]).split("\n").length - 4);
}
