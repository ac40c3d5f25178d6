import { ask, download, listen, send } from "./server.js";
import { dark, draw, element, ended, fill, number, problem, progress, status, time } from "./page.js";

const REDRAW_MS = 700;

export async function experiment(page, signal, id) {
  const path = `experiments/${id}`;
  let item = await ask(path, { signal });
  document.title = `${item.name || item.id} · ncore`;

  const head = element("div");
  const picture = element("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Curves" });
  const theory = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Theory beside measurement" });
  const note = element("p", { role: "status" });
  const axis = (name) => element("select", { onchange: () => redraw() },
    element("option", { value: "log" }, "log"), element("option", { value: "linear" }, "linear"));
  const x = axis("x"), y = axis("y");

  const act = (label, work, attributes = {}) => element("button", { ...attributes, onclick: async () => {
    note.textContent = "";
    try { await work(); } catch (error) { note.replaceChildren(problem(error)); }
  } }, label);
  const json = () => JSON.stringify(item.spec, null, 2);

  const facts = () => element("dl", { class: "facts" },
    [["Status", status(item.status)], ["Progress", progress(item)], ["Submitted", time(item.created_at)],
      ["Started", time(item.started_at)], ["Finished", time(item.finished_at)], ["Attempt", item.attempt ?? "–"],
      ["Worker", item.worker ?? "–"], ["Device", item.device ?? "–"], ["Form", item.result?.engine ?? "–"]]
      .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
  const verdicts = () => (item.result?.verdict ?? []).map((one) =>
    element("li", {}, `seed ${one.seed}: ${one.reached.replaceAll("_", " ")}`,
      one.gap === null || one.gap === undefined ? "" : `, gap of the objective ${number(one.gap)}`,
      one.note ? ` (${one.note})` : ""));
  const header = () => fill(head,
    element("h1", {}, item.name || item.id),
    element("p", { class: "quiet" }, element("code", {}, item.id), " ", item.tags.map((tag) => element("span", { class: "tag" }, tag))),
    facts(),
    item.error ? element("p", { class: "errors", role: "alert" }, typeof item.error === "string" ? item.error : item.error.message ?? JSON.stringify(item.error)) : null,
    verdicts().length ? element("ul", {}, verdicts()) : null,
    element("p", { class: "actions" },
      act("Cancel", async () => { item = await send("POST", `${path}/cancel`) ?? item; header(); }, { disabled: ended(item.status) }),
      act("Retry", async () => { item = await send("POST", `${path}/retry`) ?? item; header(); follow(); },
        { disabled: !["failed", "cancelled"].includes(item.status) }),
      act("Clone", async () => { sessionStorage.setItem("ncore-draft", json()); location.hash = "/new?draft=1"; }),
      act("Copy spec", async () => { await navigator.clipboard.writeText(json()); note.textContent = "The spec is on the clipboard."; }),
      act("CSV", () => download(`${path}/metrics?format=csv`, `${id}.csv`)),
      act("PDF", () => download(`${path}/plot.pdf`, `${id}.pdf`)),
      act("Delete", async () => {
        if (!confirm(`Delete ${item.name || id} with everything that was measured?`)) return;
        await send("DELETE", path);
        location.hash = "/";
      }, { class: "danger", disabled: item.status === "running" })));

  let view = null;
  const redraw = async () => {
    const spec = await ask(`${path}/plot.json?theme=${dark.matches ? "dark" : "light"}&columns=${innerWidth < 760 ? 1 : 2}`, { signal });
    view?.finalize();
    view = await draw(picture, spec, { x: x.value, y: y.value });
  };
  const compareTheory = async () => {
    const { comparison, prediction } = await ask(`${path}/theory`, { signal });
    const rows = (comparison ?? []).map((row) => element("tr", {},
      element("th", { scope: "row" }, row.quantity), element("td", {}, row.layer ?? ""), element("td", {}, row.seed ?? ""),
      element("td", { class: "number" }, number(row.measured, 8)), element("td", { class: "number" }, number(row.predicted, 8)),
      element("td", { class: "number" }, number(row.gap))));
    theory.replaceChildren(
      element("p", {}, `Regime: ${prediction.regime?.replaceAll("_", " ") ?? "not known"}.`),
      rows.length ? element("table", {}, element("thead", {}, element("tr", {}, ["Quantity", "Layer", "Seed"].map((name) => element("th", {}, name)),
        ["Measured", "Predicted", "Gap"].map((name) => element("th", { class: "number" }, name)))), element("tbody", {}, rows))
        : element("p", { class: "quiet" }, "Nothing has been measured yet, or nothing is predicted."),
      element("ul", { class: "quiet" }, (prediction.notes ?? []).map((text) => element("li", {}, text))));
  };

  let due = null;
  const later = () => {
    due ??= setTimeout(async () => { due = null; await Promise.all([redraw(), compareTheory()]).catch(() => {}); }, REDRAW_MS);
  };
  const follow = () => listen(`${path}/events`, signal, async (type, data) => {
    if (type === "measurement") later();
    if (type === "status") { item = { ...item, ...data }; header(); }
    if (type === "end") { item = await ask(path, { signal }); header(); later(); }
  });

  header();
  page.replaceChildren(head, note,
    element("h2", {}, "Curves"),
    element("div", { class: "bar" }, element("label", {}, "Steps", x), element("label", {}, "Values", y)),
    picture,
    element("h2", {}, "Theory beside measurement"), theory,
    element("details", {}, element("summary", {}, "Spec"), element("pre", { tabindex: 0 }, json())));
  const recolour = () => redraw();
  dark.addEventListener("change", recolour);
  const tick = setInterval(async () => {
    if (item.status !== "running" && item.status !== "queued") return;
    item = await ask(path, { signal }).catch(() => item);
    header();
  }, 1500);
  signal.addEventListener("abort", () => {
    dark.removeEventListener("change", recolour);
    clearInterval(tick);
    clearTimeout(due);
    view?.finalize();
  });
  await Promise.all([redraw(), compareTheory()]);
  if (!ended(item.status)) follow();
}
