// @ts-check
// The API's description with contents, where each call can be tried with this tab's token.

import { ask } from "../server/api.js";
import { token } from "../server/token.js";
import { element, problem } from "../parts/element.js";
import { dark } from "../parts/picture.js";

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
/** The explorer's names, attributes and variables, for the page's own colours. @type {Record<string, string>} */
const COLOURS = { "bg-color": "--page", "text-color": "--text", "primary-color": "--accent", "secondary-color": "--accent", "header-color": "--panel",
  "nav-bg-color": "--panel", "nav-text-color": "--text", "nav-hover-text-color": "--accent", "nav-hover-bg-color": "--page",
  "--inline-code-fg": "--text", "--code-fg": "--text", "--border-color": "--line", "--light-border-color": "--line",
  "--blue": "--accent", "--purple": "--accent", "--green": "--good", "--red": "--bad", "--pink": "--bad", "--orange": "--wait", "--yellow": "--wait" };

/** Gives it the page's colours, as numbers: it computes with them. @param {HTMLElement} explorer */
const paint = (explorer) => {
  const probe = document.body.appendChild(element("span"));
  for (const [name, variable] of Object.entries(COLOURS)) {
    probe.style.color = `var(${variable})`;
    const parts = getComputedStyle(probe).color.match(/\d+/g) ?? [];
    const colour = `#${parts.slice(0, 3).map((part) => Number(part).toString(16).padStart(2, "0")).join("")}`;
    if (name.startsWith("--")) explorer.style.setProperty(name, colour); else explorer.setAttribute(name, colour);
  }
  probe.remove();
};

/** Each call by its method and path, and the token as the way in. @param {any} api */
const prepared = (api) => {
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, call] of Object.entries(methods)) call.summary = `${method.toUpperCase()} ${path}`;
  }
  api.components.securitySchemes = { token: { type: "http", scheme: "bearer", description: "One of NCORE_TOKENS, where the server has any." } };
  api.security = [{ token: [] }, {}];
  return api;
};

try {
  const api = prepared(await ask("openapi.json", { reader: JSON.parse }));
  const explorer = /** @type {any} */ (element(/** @type {any} */ ("openapi-explorer"), {
    "server-url": new URL(".", location.href).href.replace(/\/$/, ""), "hide-server-selection": true, "schema-style": "table",
  }));
  paint(explorer);
  dark.addEventListener("change", () => paint(explorer));
  explorer.addEventListener("spec-loaded", () => { if (token()) explorer.setAuthenticationConfiguration("token", { token: token() }); });
  main.replaceChildren(explorer);
  await explorer.loadSpec(api);
} catch (error) {
  main.replaceChildren(problem(/** @type {Error} */ (error)));
}
