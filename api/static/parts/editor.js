// @ts-check
// A text area that holds JSON, and the places of faults in it.

/** The place of a dotted path in the text: keys one after another. @param {string} text @param {string} field @returns {[number, number] | null} */
export function find(text, field) {
  let from = 0;
  /** @type {[number, number] | null} */
  let hit = null;
  for (const key of field.split(".")) {
    const at = text.indexOf(`"${key}"`, from);
    if (at < 0) break;
    hit = [at, at + key.length + 2];
    from = hit[1];
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
