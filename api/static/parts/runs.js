// @ts-check
// The list of experiments as far as it has been asked for: a page at a time by the server's cursor, each looked at again alone.

import { ask } from "../server/api.js";
import { SENT } from "./columns.js";
import { ended } from "./format.js";

const PAGE = 50, LARGEST_PAGE = 200;
/** Turns after which the whole first page is fetched; in between only the newest experiment is looked at. */
const WHOLE_TURN = 10;

/** @typedef {Omit<import("./spec.js").Experiment, "spec" | "result" | "error" | "attempt"> & { archived: boolean, sweep_id: string | null, values: Record<string, any>,
 *   curve?: { steps: number[], values: (number | null)[] } | null }} Run the stored part of an experiment */
/** @typedef {{ cursor: string | null, limit: number, items: Run[], next: string | null }} Page */

/** @param {Record<string, string>} filters and order, as the API has them @param {string[]} columns what is asked for @param {AbortSignal} signal */
export function runs(filters, columns, signal) {
  /** @type {Page[]} */
  let pages = [];
  /** @type {Promise<void> | null} */
  let loading = null;
  let turn = 0;

  const fetchPage = async (/** @type {string | null} */ cursor, /** @type {number} */ limit) => {
    const query = new URLSearchParams({ ...filters, limit: String(limit), ...(cursor ? { cursor } : {}) });
    for (const column of [...SENT, ...columns]) query.append("columns", column);
    const { items, next_cursor: next } = await ask(`experiments?${query}`, { signal });
    return { cursor, limit, items: items.map((/** @type {Run} */ one) => ({ ...one, values: one.values ?? {} })), next };
  };
  const newest = async () => {
    const { items } = await ask(`experiments?${new URLSearchParams({ ...filters, limit: "1", columns: "status" })}`, { signal });
    return items[0]?.id;
  };
  const isComplete = () => pages.length > 0 && pages.at(-1)?.next === null;
  /** The next page: the first is a small one, soon on the screen. */
  const more = (limit = pages.length ? LARGEST_PAGE : PAGE) => {
    if (isComplete()) return Promise.resolve();
    return (loading ??= fetchPage(pages.at(-1)?.next ?? null, limit).then((page) => { pages.push(page); }).finally(() => { loading = null; }));
  };
  /** Fetches a page again. Rows that have moved to the next page since are kept; if none is left of it, the list is reset. */
  const again = async (/** @type {Page} */ page) => {
    const fresh = await fetchPage(page.cursor, page.limit);
    const at = (/** @type {string | undefined} */ id, /** @type {Run[]} */ items) => items.findIndex((one) => one.id === id);
    const end = at(page.items.at(-1)?.id, fresh.items), begin = at(fresh.items.at(-1)?.id, page.items);
    if (page === pages.at(-1) && (pages.length === 1 || end < 0)) {
      const kept = begin < 0 ? [] : page.items.slice(begin + 1);
      Object.assign(page, { items: [...fresh.items, ...kept], next: kept.length ? page.next : fresh.next });
    } else if (end >= 0) page.items = fresh.items.slice(0, end + 1);
    else if (begin >= 0) page.items = [...fresh.items, ...page.items.slice(begin + 1)];
    else pages = [fresh];
  };
  return {
    isComplete,
    more,
    /** Everything, in large pages; `progress` is called after each. @param {() => void} progress */
    async all(progress) {
      while (!isComplete() && !signal.aborted) {
        await more(LARGEST_PAGE);
        progress();
      }
    },
    /** Without doubles: what was deleted before a page moves others into it. @returns {Run[]} */
    items: () => [...new Map(pages.flatMap(({ items }) => items).map((one) => [one.id, one])).values()],
    /** Looks again at what may have changed among the runs that are seen. @param {Set<string>} seen their ids */
    async refresh(seen) {
      const [first] = pages;
      if (!first) return more();
      const isLive = (/** @type {Page} */ page) => page.items.some((one) => !ended(one.status) && (page === first || seen.has(one.id)));
      const due = pages.filter(isLive);
      if (!due.includes(first)) {
        const id = turn++ % WHOLE_TURN ? (await newest()) : null;
        if (id !== first.items[0]?.id || id === null) due.push(first);
      }
      await Promise.all(due.map(again));
    },
  };
}
