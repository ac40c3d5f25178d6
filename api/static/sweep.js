// One sweep: how far it is, its picture, and the table of its final metrics beside what is predicted.

import { print } from "./json.js";
import { ask, download, send } from "./server.js";
import { dark, draw, element, fill, nameOf, named, problem, refill, time, title } from "./page.js";
import { axesOf, bar, counts, often } from "./sweeps.js";
import { PAGE, sweepTable } from "./sweep_table.js";

// While a sweep goes on, its picture is drawn again after so many times what it took to draw it: a large one takes seconds.
const REST = 3;

const several = (axes) => Object.keys(axes).filter((path) => axes[path].length > 1);
const left = ({ statuses }) => (statuses.queued ?? 0) + (statuses.running ?? 0);

// A choice of which nothing is left but one value is not shown.
const choice = (name, onchange) => {
  const select = element("select", { onchange }), label = element("label", { hidden: true }, name, select);
  const offer = (values, chosen, first = null) => {
    label.hidden = values.length < 2;
    const texts = JSON.stringify([values, first]);
    if (select.dataset.offered !== texts) {
      select.dataset.offered = texts;
      fill(select, first === null ? null : element("option", { value: "" }, first),
        values.map((value) => element("option", { value }, value)));
    }
    select.value = chosen;
  };
  return { label, select, offer };
};

export async function sweep(page, signal, id, search) {
  const path = `sweeps/${id}`;
  const want = { metric: search.get("metric") ?? "nc1", layer: search.get("layer") ?? "", offset: parseInt(search.get("offset"), 10) || 0 };
  const known = {};
  let item = null, picturing = "", view = null;

  const head = element("div"), note = element("p", { role: "status" });
  const picture = element("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Picture" });
  const chosen = (name) => (event) => { want[name] = event.target.value; anew(); };
  const metric = choice("Metric", chosen("metric")), layer = choice("Layer", chosen("layer"));
  const x = choice("Over", chosen("x")), y = choice("And over", chosen("y"));
  const table = sweepTable((offset) => { want.offset = offset; anew(); });

  const query = (more = {}) => {
    const given = { metric: want.metric, layer: want.layer, ...more };
    return new URLSearchParams(Object.entries(given).filter(([, value]) => value !== "" && value !== undefined));
  };
  const offer = () => {
    for (const [name, layers] of Object.entries(item.measured)) known[name] = [...new Set([...known[name] ?? [], ...layers])];
    const axes = several(item.axes);
    if (Object.keys(known).length && !known[want.metric]) want.metric = Object.keys(known)[0];
    if (known[want.metric] && !known[want.metric].includes(want.layer)) want.layer = "";
    metric.offer(Object.keys(known), want.metric);
    layer.offer(known[want.metric] ?? [], want.layer, "all");
    if (axes.length < 3) return;
    want.x ??= axes[0];
    if (!want.y || want.y === want.x) want.y = axes.find((axis) => axis !== want.x);
    x.offer(axes, want.x);
    y.offer(axes.filter((axis) => axis !== want.x), want.y);
  };
  const refresh = async () => {
    const page = () => query({ offset: want.offset, limit: PAGE }).toString(), asked = page();
    item = await ask(`${path}?${asked}`, { signal });
    offer();
    if (want.offset >= item.total) want.offset = 0;
    if (page() !== asked) return refresh();
    title(nameOf(item));
    header();
    table.show(item, want);
  };

  const redraw = async () => {
    const options = query({ x: want.x, y: want.y, theme: dark.matches ? "dark" : "light" });
    const fresh = `${options} ${item.statuses.succeeded} ${innerWidth}`;
    if (fresh === picturing) return;
    if (!item.statuses.succeeded) {
      fill(picture, element("p", { class: "quiet" }, left(item) ? "No experiment has ended yet." : "No experiment has succeeded."));
      return;
    }
    if (!view) fill(picture, element("p", { class: "quiet" }, "Drawing …"));
    const drawing = await ask(`${path}/plot.json?${options}`, { signal, reader: JSON.parse });
    view?.finalize();
    view = null;
    const [over, across] = [want.x ?? several(item.axes)[0], want.y ?? several(item.axes)[1]];
    view = await draw(picture, drawing, { names: { x: over, y: across, value: want.metric } });
    picturing = fresh;
  };
  // One after another, so that no late answer is shown in the place of a newer one.
  let working = null, due = false, resting = 0;
  const work = async () => {
    while (due) {
      due = false;
      await refresh();
      const began = performance.now();
      if (began < resting && left(item)) continue;
      await redraw().catch((error) => { if (!signal.aborted) fill(picture, problem(error)); });
      resting = performance.now() + REST * (performance.now() - began);
    }
  };
  const shown = () => {
    due = true;
    return (working ??= work().finally(() => { working = null; }));
  };
  const anew = async () => {
    resting = 0;
    history.replaceState(null, "", `#/${path}?${query({ offset: want.offset || "" })}`);
    await shown().catch((error) => { if (!signal.aborted) note.replaceChildren(problem(error)); });
  };

  const act = (label, work, attributes = {}) => element("button", { ...attributes, onclick: async () => {
    note.textContent = "";
    try { await work(); } catch (error) { note.replaceChildren(problem(error)); }
  } }, label);
  const cancel = act("Cancel", async () => {
    if (!confirm(`Cancel the ${left(item).toLocaleString()} experiments of ${nameOf(item)} that have not ended?`)) return;
    await send("POST", `${path}/cancel`);
    await shown();
  }, { class: "danger" });
  const actions = element("p", { class: "actions" },
    act("CSV", () => download(`${path}?format=csv`, `${id}.csv`)),
    act("PDF", () => download(`${path}/plot.pdf?${query({ x: want.x, y: want.y })}`, `${id}.pdf`)),
    act("Clone", async () => {
      sessionStorage.setItem("ncore-sweep", print({ name: item.name, base: item.base, axes: item.axes }));
      location.hash = "/sweeps/new?draft=1";
    }),
    cancel);
  const header = () => {
    cancel.disabled = !left(item);
    refill(head,
      element("h1", {}, named(item)),
      item.name ? element("p", { class: "quiet" }, element("code", {}, item.id)) : null,
      element("dl", { class: "facts" }, [["Progress", bar(item)], ["Experiments", counts(item.statuses)], ["Submitted", time(item.created_at)],
        ["Axes", axesOf(item.axes), "whole"]]
        .map(([name, value, kind]) => element("div", { class: kind }, element("dt", {}, name), element("dd", {}, value)))));
  };

  await refresh();
  page.replaceChildren(head, actions, note,
    element("h2", {}, "At the end"),
    element("div", { class: "bar" }, metric.label, layer.label, x.label, y.label),
    picture,
    element("h2", {}, "Theory beside measurement"), table.node,
    element("details", {}, element("summary", {}, "Base"), element("pre", { tabindex: 0 }, print(item.base, 2))));
  const again = () => { resting = 0; shown().catch(() => {}); };
  dark.addEventListener("change", again, { signal });
  addEventListener("resize", again, { signal });
  signal.addEventListener("abort", () => view?.finalize());
  often(async () => { if (left(item)) await shown(); }, signal);
  await shown();
}
