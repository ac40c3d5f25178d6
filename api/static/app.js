// The dashboard: everything on the screen comes from the HTTP API, and the address says which page is shown.

import { list } from "./list.js";
import { experiment } from "./experiment.js";
import { submit } from "./submit.js";
import { compare } from "./compare.js";
import { sweeps } from "./sweeps.js";
import { sweep } from "./sweep.js";
import { sweepForm } from "./sweep_form.js";
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
    const [, kind, id] = path.match(/^\/(experiments|sweeps)\/([^/]+)$/) ?? [];
    if (kind === "experiments") await experiment(page, signal, id, search);
    else if (path === "/sweeps") await sweeps(page, signal);
    else if (path === "/sweeps/new") await sweepForm(page, signal, search);
    else if (kind === "sweeps") await sweep(page, signal, id, search);
    else if (path === "/new") await submit(page, signal, search);
    else if (path === "/compare") await compare(page, signal, search);
    else await list(page, signal, search);
  } catch (error) {
    const [all, name] = path.startsWith("/sweeps") ? ["#/sweeps", "All sweeps"] : ["#/", "All experiments"];
    if (!signal.aborted) fill(page, problem(error), element("p", {}, element("a", { href: all }, name)));
  }
}

addEventListener("hashchange", () => { show(); main.focus(); });
show();
