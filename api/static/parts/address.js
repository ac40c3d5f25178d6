// @ts-check
// The state of a page stands in its address, so that Back, a reload and a shared link bring it again.

/** The path and the query behind the "#". */
export const address = () => {
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  return { path, search: new URLSearchParams(query) };
};

/** Makes sections that are open where the address says so; `change` is called when one is opened or closed.
 * @param {URLSearchParams} search @param {AbortSignal} signal @param {() => void} change */
export function sections(search, signal, change) {
  const open = new Set(search.getAll("open"));
  return {
    open,
    /** @template {HTMLDetailsElement | null} Section @param {string} name @param {Section} node @returns {Section} */
    kept(name, node) {
      if (node && open.has(name)) node.open = true;
      node?.addEventListener("toggle", () => {
        if (signal.aborted || !node.isConnected || node.open === open.has(name)) return;
        if (node.open) open.add(name); else open.delete(name);
        change();
      });
      return node;
    },
  };
}

/** Writes the state into the address, without a new entry in the history; what is empty is left out.
 * @param {Record<string, string | number | string[] | null | undefined>} state */
export function keep(state) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) query.append(name, String(one));
  }
  const text = query.toString();
  history.replaceState(history.state, "", `#${address().path}${text ? `?${text}` : ""}`);
}
