// @ts-check

const LEAST_MS = 1500, MOST_MS = 10_000, SHARE = 3;

/** Repeats the work while the page is looked at; what takes long is repeated less often.
 * @param {() => Promise<unknown>} work @param {AbortSignal} signal */
export function often(work, signal) {
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const again = async () => {
    const began = performance.now();
    if (!document.hidden) await work().catch(() => {});  // what failed is asked for again at the next turn
    const pause = Math.min(MOST_MS, Math.max(LEAST_MS, SHARE * (performance.now() - began)));
    if (!signal.aborted) timer = setTimeout(again, pause);
  };
  timer = setTimeout(again, LEAST_MS);
  signal.addEventListener("abort", () => clearTimeout(timer));
}
