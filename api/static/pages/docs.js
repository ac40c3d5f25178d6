// @ts-check
// The API's description with contents, where each call can be tried with this tab's token.

import { ask } from "../server/api.js";
import { token } from "../server/token.js";
import { element, problem } from "../parts/element.js";
import { dark } from "../parts/picture.js";

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
/** The explorer's names for the page's own colours. */
const COLOURS = { "bg-color": "--page", "text-color": "--text", "primary-color": "--accent", "secondary-color": "--accent", "header-color": "--panel",
  "nav-bg-color": "--panel", "nav-text-color": "--text", "nav-hover-text-color": "--accent", "nav-hover-bg-color": "--page" };

/** It computes with colours, so it needs them as numbers. */
const colours = () => {
  const probe = document.body.appendChild(element("span"));
  const found = Object.entries(COLOURS).map(([name, variable]) => {
    probe.style.color = `var(${variable})`;
    const parts = getComputedStyle(probe).color.match(/\d+/g) ?? [];
    return [name, `#${parts.slice(0, 3).map((part) => Number(part).toString(16).padStart(2, "0")).join("")}`];
  });
  probe.remove();
  return Object.fromEntries(found);
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
    "server-url": new URL(".", location.href).href.replace(/\/$/, ""), "hide-server-selection": true, "schema-style": "table", ...colours(),
  }));
  dark.addEventListener("change", () => { for (const [name, value] of Object.entries(colours())) explorer.setAttribute(name, value); });
  explorer.addEventListener("spec-loaded", () => { if (token()) explorer.setAuthenticationConfiguration("token", { token: token() }); });
  main.replaceChildren(explorer);
  await explorer.loadSpec(api);
} catch (error) {
  main.replaceChildren(problem(/** @type {Error} */ (error)));
}
