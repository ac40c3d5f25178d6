import { print } from "./json.js";
import { ask, download, listen, send } from "./server.js";
import { copy, dark, draw, element, ended, fill, isLog, nameOf, named, number, problem, progress, selectAll, status, tags, time, title } from "./page.js";
import { comparison } from "./comparison.js";
import { logs } from "./logs.js";

const REDRAW_MS = 250;

export async function experiment(page, signal, id) {
  const path = `experiments/${id}`;
  let item = await ask(path, { signal });
  title(nameOf(item));

  const head = element("div");
  const picture = element("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Curves" });
  const theory = comparison();
  const caption = element("p", { class: "quiet caption" });
  const note = element("p", { role: "status" });
  const log = logs(path, signal);
  const axis = () => element("select", { onchange: () => later() },
    element("option", { value: "log" }, "log"), element("option", { value: "linear" }, "linear"));
  const x = axis(), y = axis();
  const steps = element("label", {}, "Steps", x), values = element("label", {}, "Values", y);

  const act = (label, work, attributes = {}) => element("button", { ...attributes, onclick: async () => {
    note.textContent = "";
    try { await work(); } catch (error) { note.replaceChildren(problem(error)); }
  } }, label);
  const json = () => print(item.spec, 2);

  const written = element("details", {}, element("summary", {}, "Spec"), element("pre", { tabindex: 0 }, json()));

  const facts = () => element("dl", { class: "facts" },
    [["Status", status(item.status)], ["Progress", progress(item)], ["Submitted", time(item.created_at)],
      ["Started", time(item.started_at)], ["Finished", time(item.finished_at)], ["Attempt", item.attempt || "–"],
      ["Worker", item.worker ?? "–"], ["Device", item.device ?? "–"], ["Form", item.result?.engine.replaceAll("_", " ") ?? "–"]]
      .filter(([, value]) => value !== "–").map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  const verdicts = () => (item.result?.verdict ?? []).map((one) =>
    element("li", {}, `seed ${one.seed}: ${one.reached.replaceAll("_", " ")}`,
      one.gap === null || one.gap === undefined ? "" : `, gap of the objective ${number(one.gap)}`,
      one.note ? ` (${one.note})` : ""));
  const cancel = act("Cancel", async () => { item = await send("POST", `${path}/cancel`) ?? item; header(); });
  const retry = act("Retry", async () => { item = await send("POST", `${path}/retry`) ?? item; header(); follow(); });
  const remove = act("Delete", async () => {
    if (!confirm(`Delete ${nameOf(item)} with everything that was measured?`)) return;
    await send("DELETE", path);
    location.hash = "/";
  }, { class: "danger" });
  const actions = element("p", { class: "actions" }, cancel, retry,
    act("Clone", async () => { sessionStorage.setItem("ncore-draft", json()); location.hash = "/new?draft=1"; }),
    act("Copy spec", async () => { 
      if (await copy(json())) { note.textContent = "Spec copied."; return; }
      written.open = true;
      selectAll(written.lastChild);
      note.textContent = "This browser lets no page copy. The spec is selected: press Ctrl+C.";
    }),
    act("CSV", () => download(`${path}/metrics?format=csv`, `${id}.csv`)),
    act("PDF", () => download(`${path}/plot.pdf`, `${id}.pdf`)),
    act("Export", () => download(`${path}/export.zip`, `${id}.zip`)),
    remove);
  const header = () => {
    cancel.disabled = ended(item.status);
    retry.disabled = !["failed", "cancelled"].includes(item.status);
    remove.disabled = item.status === "running";
    fill(head,
      element("h1", {}, named(item)),
      element("p", { class: "quiet" }, element("code", {}, item.id), " ", tags(item.tags)),
      facts(),
      item.error ? element("p", { class: "errors", role: "alert" }, item.error) : null,
      verdicts().length ? element("ul", {}, verdicts()) : null);
  };

  let view = null;
  const redraw = async () => {
    const spec = await ask(`${path}/plot.json?theme=${dark.matches ? "dark" : "light"}&columns=${innerWidth < 760 ? 1 : 2}`, { signal, reader: JSON.parse });
    const { title: head, ...curves } = spec;
    fill(caption, head?.subtitle.join(" ") ?? "");
    steps.hidden = !isLog(curves, "x");
    values.hidden = !isLog(curves, "y");
    view?.finalize();
    view = await draw(picture, curves, { axes: { x: x.value, y: y.value } });
  };
  const compareTheory = async () => theory.show(await ask(`${path}/theory`, { signal }));

  // The first change is drawn at once, what comes meanwhile together a little later.
  let drawing = false, due = false;
  const later = async () => {
    due = true;
    if (drawing) return;
    drawing = true;
    while (due && !signal.aborted) {
      due = false;
      await Promise.all([redraw(), compareTheory()]).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, REDRAW_MS));
    }
    drawing = false;
  };
  const follow = () => listen(`${path}/events`, signal, async (type, data) => {
    if (type === "measurement") later();
    if (type === "status") {
      if (data.status !== item.status) log.refresh();
      item = { ...item, ...data };
      header();
    }
    if (type === "end") { item = await ask(path, { signal }).catch(() => item); header(); later(); log.refresh(); }
  });

  header();
  page.replaceChildren(head, actions, note,
    element("h2", {}, "Curves"),
    element("div", { class: "bar" }, steps, values),
    picture, caption,
    element("h2", {}, "Theory beside measurement"), theory.node,
    log.node,
    written);
  dark.addEventListener("change", later, { signal });
  addEventListener("resize", later, { signal });
  const tick = setInterval(async () => {
    if (item.status !== "running" && item.status !== "queued") return;
    item = await ask(path, { signal }).catch(() => item);
    header();
  }, 1500);
  signal.addEventListener("abort", () => {
    clearInterval(tick);
    view?.finalize();
  });
  const before = item.status; // it may end while the first picture is drawn, and then that shows too little
  await Promise.all([redraw(), compareTheory()]);
  if (!ended(before)) follow();
}
