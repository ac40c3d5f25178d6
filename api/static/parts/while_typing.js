// @ts-check
// Questions that are asked while something is being written: after a pause, and only the last one is answered.

import { Problem } from "../server/api.js";

const WAIT_MS = 300;

/** @template T
 * @param {AbortSignal} signal @param {(text: string) => Promise<T>} ask @param {(found: T) => void} show
 * @param {(problem: Problem) => void} refuse what the server finds wrong
 * @returns {(text: string) => void} */
export function whileTyping(signal, ask, show, refuse) {
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  let latest = 0;
  signal.addEventListener("abort", () => clearTimeout(timer));
  return (text) => {
    clearTimeout(timer);
    const mine = ++latest;
    timer = setTimeout(async () => {
      try {
        const found = await ask(text);
        if (mine === latest) show(found);
      } catch (error) {
        if (signal.aborted || mine !== latest || !(error instanceof Problem)) return;
        refuse(error);
      }
    }, WAIT_MS);
  };
}
