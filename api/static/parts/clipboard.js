// @ts-check

/** Puts a text on the clipboard. Without https there is none, and the older way may do; false where neither does.
 * @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const held = /** @type {HTMLElement | null} */ (document.activeElement), area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    held?.focus({ preventScroll: true });
    return done;
  }
}

/** Selects a node's text. @param {Node} node */
export function select(node) {
  getSelection()?.selectAllChildren(node);
}
