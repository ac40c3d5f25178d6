// The OpenAPI document as a page: every route with its parameters, bodies and answers.

import { ask } from "./server.js";
import { element } from "./page.js";

const name = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return element("a", { href: `#${schema.$ref.split("/").pop()}` }, schema.$ref.split("/").pop());
  const members = schema.anyOf ?? schema.oneOf;
  if (members) return element("span", {}, members.flatMap((member, i) => (i ? [" | ", name(member)] : [name(member)])));
  if (schema.type === "array") return element("span", {}, "array of ", name(schema.items));
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const bounds = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxLength", "pattern"]
    .filter((key) => key in schema).map((key) => `${key} ${schema[key]}`).join(", ");
  return `${schema.type ?? "any"}${bounds ? ` (${bounds})` : ""}`;
};

// Words in backticks are code.
const text = (words) => words.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));

const row = (...cells) => element("tr", {}, cells.map((cell) => element("td", {}, cell)));
const value = (item) => (item === undefined ? "" : JSON.stringify(item));

const table = (label, rows) => element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
  element("table", {}, element("tbody", {}, rows)));

const api = await ask("openapi.json");
const main = document.getElementById("main");
main.replaceChildren(element("h1", {}, `${api.info.title} ${api.info.version}`), element("p", {}, text(api.info.description ?? "")));
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const body = Object.values(route.requestBody?.content ?? {})[0]?.schema;
    main.append(element("section", {},
      element("h2", {}, element("code", {}, `${method.toUpperCase()} ${path}`)),
      element("p", {}, text(route.description ?? route.summary ?? "")),
      route.parameters?.length ? table(`Parameters of ${method.toUpperCase()} ${path}`, route.parameters.map((one) =>
        row(element("code", {}, one.name), one.in, name(one.schema), value(one.schema?.default)))) : null,
      body ? element("p", {}, "Body: ", name(body)) : null,
      element("p", { class: "quiet" }, "Answers: ", Object.entries(route.responses).flatMap(([status, answer], i) => [
        i ? ", " : "", `${status} `, name(Object.values(answer.content ?? {})[0]?.schema)]))));
  }
}
main.append(element("h1", {}, "Schemas"));
for (const [title, schema] of Object.entries(api.components?.schemas ?? {})) {
  main.append(element("section", { id: title }, element("h2", {}, title), element("p", {}, text(schema.description ?? "")),
    table(`Fields of ${title}`, Object.entries(schema.properties ?? {}).map(([key, property]) =>
      row(element("code", {}, key), name(property), value(property.default), text(property.description ?? ""))))));
}
