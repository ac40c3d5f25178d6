// @ts-check
// The dashboard: everything on the screen comes from the HTTP API, and the address says which page is shown.

import { address } from "./parts/address.js";
import { element, fill, problem } from "./parts/element.js";
import { ask } from "./server/api.js";

/** @typedef {{ node: HTMLElement, signal: AbortSignal, search: URLSearchParams, id: string, top: number }} Place
 * where a page is shown; `signal` says when it is left, `top` how far down it was when it was left last */

/** Path (its last part an id where it ends in "/*"), module, and the list that it belongs to. A page is loaded when it is opened.
 * @type {[string, () => Promise<{ show: (place: Place) => Promise<void> }>, string][]} */
const PAGES = [
  ["/", () => import("./pages/experiments.js"), "/"],
  ["/new", () => import("./pages/new.js"), "/new"],
  ["/compare", () => import("./pages/compare.js"), "/compare"],
  ["/verdicts", () => import("./pages/verdicts.js"), "/"],
  ["/sweeps", () => import("./pages/sweeps.js"), "/sweeps"],
  ["/sweeps/new", () => import("./pages/new_sweep.js"), "/sweeps"],
  ["/sweeps/*", () => import("./pages/sweep.js"), "/sweeps"],
  ["/experiments/*", () => import("./pages/experiment.js"), "/"],
];

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let leaving = new AbortController();

/** A page's module. While the server is away it is waited for, and the whole is loaded anew: some browsers never ask twice for
 * a module that they did not get. @template Module @param {() => Promise<Module>} load @param {AbortSignal} signal */
async function loaded(load, signal) {
  try {
    return await load();
  } catch (error) {
    if (await fetch("healthz").then(({ ok }) => ok, () => false)) throw error;  // the server is there: the module is wrong
    await ask("healthz", { signal });
    location.reload();
    return new Promise(() => {});
  }
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { path, search } = address();
  const top = history.state?.top ?? 0;
  const [, before, id] = path.match(/^(.*\/)([^/]*)$/) ?? ["", "/", ""];
  const [, load, menu] = PAGES.find(([one]) => one === path) ?? PAGES.find(([one]) => one === `${before}*`) ?? PAGES[0];
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("nav a"))) {
    if (link.hash === `#${menu}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const node = element("div", {}, element("p", { class: "quiet" }, "Loading …"));
  main.replaceChildren(node);
  try {
    await (await loaded(load, signal)).show({ node, signal, search, id, top });
    if (!signal.aborted) scrollTo(0, top);
  } catch (error) {
    const [all, name] = menu === "/sweeps" ? ["#/sweeps", "All sweeps"] : ["#/", "All experiments"];
    if (!signal.aborted) fill(node, problem(/** @type {Error} */ (error)), element("p", {}, element("a", { href: all }, name)));
  }
}

history.scrollRestoration = "manual";  // a page is long enough only when it has been loaded
addEventListener("scrollend", () => history.replaceState({ ...history.state, top: scrollY }, ""));
addEventListener("hashchange", () => { show(); main.focus({ preventScroll: true }); });
show();
