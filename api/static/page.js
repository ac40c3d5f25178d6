// What every page is built of: elements, numbers, times, pictures.

import { hasInk, visible } from "./json.js";

const READ_ALOUD = ["aria-label", "title", "placeholder"];

// What is not there is left out, and text is shown so that every character of it is seen.
const shown = (children) => children.flat().filter((child) => child !== null && child !== undefined)
  .map((child) => (child instanceof Node ? child : visible(String(child))));

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, READ_ALOUD.includes(name) ? visible(String(value)) : value);
    }
  }
  node.append(...shown(children));
  return node;
}

export const fill = (node, ...children) => node.replaceChildren(...shown(children));

// What something is called: its name, or its id where the name has nothing to be seen.
export const nameOf = ({ name, id }) => (hasInk(name ?? "")
  ? visible(name).replace(/\s+/g, " ") : id);

// A name of any length and direction, which cannot turn or push what stands around it.
export const named = (item) => element("bdi", { class: "name", title: item.name?.length > 80 ? item.name : null }, nameOf(item));

export const tags = (names) => names.map((name) => element("bdi", { class: "tag" }, name));

export const title = (text) => { document.title = `${visible(text)} · ncore`; };

export const number = (value, digits = 6) => {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : Number(value.toPrecision(digits)).toString();
};

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export const time = (text) => text
  ? element("time", { datetime: text }, new Date(text).toLocaleString([], { dateStyle: "short", timeStyle: "medium" }))
  : "–";

export const status = (value) => element("span", { class: `status ${value}` }, value);

export function progress({ status: state, progress: at }) {
  if (!at || !at.total) return "";
  const share = Math.round((100 * at.step) / at.total);
  const eta = state === "running" && at.eta_seconds !== null && at.eta_seconds !== undefined ? `, ${duration(at.eta_seconds)} left` : "";
  return element("span", { class: "nowrap" },
    element("progress", { max: at.total, value: at.step, "aria-label": "progress" }), ` ${share}\u00a0%${eta}`);
}

export const problem = (error) => element("div", { class: "errors", role: "alert" }, element("p", {}, error.message));

// What is replaced must not take the keyboard's place with it.
export function refill(node, ...children) {
  const held = node.contains(document.activeElement) ? document.activeElement.id : "";
  fill(node, ...children);
  if (held) document.getElementById(held)?.focus({ preventScroll: true });
}

// To the clipboard; where the page is not served by https there is none, and the older way may do. False where neither does.
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const held = document.activeElement, area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    held?.focus({ preventScroll: true });
    return done;
  }
}

export function selectAll(node) {
  node.scrollIntoView({ block: "nearest" });
  getSelection().selectAllChildren(node);
}

export const ended = (state) => ["succeeded", "failed", "cancelled"].includes(state);

export const dark = matchMedia("(prefers-color-scheme: dark)");

const rescale = (node, axes) => {
  if (Array.isArray(node)) node.forEach((child) => rescale(child, axes));
  else if (node && typeof node === "object") {
    for (const axis of ["x", "y"]) {
      const scale = node.encoding?.[axis]?.scale;
      if (axes[axis] === "linear" && scale && ["log", "symlog"].includes(scale.type)) {
        node.encoding[axis].scale = { ...scale, type: "linear", domain: undefined, constant: undefined, base: undefined };
        if (node.encoding[axis].axis) delete node.encoding[axis].axis.values;
      }
    }
    Object.values(node).forEach((child) => rescale(child, axes));
  }
  return node;
};

const AXIS_PIXELS = 78, LEAST_PIXELS = 180, MOST_PIXELS = 1100;

// The panels as wide as their place allows.
const fit = (picture, pixels) => {
  const columns = picture.concat ? Math.min(picture.columns, picture.concat.length) : 1;
  const each = Math.floor((pixels - 24 * (columns - 1)) / columns) - AXIS_PIXELS;
  for (const panel of picture.concat ?? [picture]) panel.width = Math.max(LEAST_PIXELS, Math.min(MOST_PIXELS, each));
  return picture;
};

const scales = (node, axis) => (node === null || typeof node !== "object" ? []
  : [node.encoding?.[axis]?.scale?.type, ...Object.values(node).flatMap((child) => scales(child, axis))]);

export const isLog = ({ datasets, ...drawn }, axis) => scales(drawn, axis).some((type) => ["log", "symlog"].includes(type));

// The runtime is large: it is loaded when the first picture is drawn, so that no other page waits for it.
let loading = null;
const runtime = () => (loading ??= new Promise((resolve, reject) => {
  const failed = () => {
    loading = null;
    script.remove();
    reject(new Error("The server has not sent what draws the pictures."));
  };
  const script = element("script", { src: "static/vega.js", onload: resolve, onerror: failed });
  document.head.append(script);
}));

const LONG_NUMBER = /^-?\d+\.\d{6,}(e[+-]?\d+)?$|^-?\d+(\.\d+)?e[+-]?\d+$/;

// What a tooltip says: `names` for what the picture calls x and y, numbers as elsewhere on the page, nothing of Vega's own.
const tooltip = (names) => (values, toHtml) => {
  const rows = typeof values === "object" ? Object.entries(values) : [["", values]];
  const text = (value) => toHtml(visible(LONG_NUMBER.test(value) ? number(Number(value)) : String(value)));
  return `<table>${rows.filter(([key, value]) => !key.endsWith("_sort_index") && value !== "" && value !== undefined)
    .map(([key, value]) => `<tr><td class=key>${toHtml(names[key] ?? key)}</td><td class=value>${text(value)}</td></tr>`).join("")}</table>`;
};

// Draws Vega-Lite as the server made it, fitted to its place; `axes` may turn its log axes into linear ones.
export async function draw(target, picture, { axes = {}, names = {} } = {}) {
  const fitted = fit(rescale(structuredClone(picture), axes), target.clientWidth - 16);
  await runtime();
  const told = { theme: dark.matches ? "dark" : "light", formatTooltip: tooltip(names) };
  const view = await window.vegaEmbed(target, fitted, { actions: false, renderer: "svg", tooltip: told });
  const label = picture.description || (picture.title?.text ?? picture.title) || "curves";
  target.querySelector("svg")?.setAttribute("aria-label", visible([label].flat().join(" ")));
  return view;
}
