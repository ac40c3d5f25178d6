// @ts-check
// The state of a page stands in its address, so that Back, a reload and a shared link bring it again.

/** The path and the query behind the "#". */
export const address = () => {
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  return { path, search: new URLSearchParams(query) };
};

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
