// The dashboard: everything on the screen comes from the HTTP API, and the address says which page is shown.

import { list } from "./list.js";
import { experiment } from "./experiment.js";
import { submit } from "./submit.js";
import { compare } from "./compare.js";
import { element, fill, problem } from "./page.js";

const main = document.getElementById("main");
let leaving = new AbortController();

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path, query] = (location.hash.slice(1) || "/").split("?");
  const search = new URLSearchParams(query);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash && (link.hash === `#${path}`)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const page = document.createElement("div");
  main.replaceChildren(page);
  page.innerHTML = "<p class=quiet>Loading …</p>";
  try {
    const id = path.match(/^\/experiments\/([^/]+)$/)?.[1];
    if (id) await experiment(page, signal, id, search);
    else if (path === "/new") await submit(page, signal, search);
    else if (path === "/compare") await compare(page, signal, search);
    else await list(page, signal, search);
  } catch (error) {
    if (!signal.aborted) fill(page, problem(error), element("p", {}, element("a", { href: "#/" }, "All experiments")));
  }
}

addEventListener("hashchange", () => { show(); main.focus(); });
show();
