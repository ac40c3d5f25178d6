import { ask } from "./server.js";
import { dark, draw, element, named, problem, title } from "./page.js";

const METRICS = ["nc1", "nc1_trace", "nc2_of", "nc2_etf", "nc3", "nc3_centered", "nc4", "cdnv", "objective", "loss", "accuracy",
  "test_loss", "test_accuracy", "grad_norm", "batch_grad_norm"];

export async function compare(page, signal, search) {
  title("Compare");
  const chosen = new Set(search.getAll("experiment"));
  const { items } = await ask("experiments?limit=200", { signal });
  const picture = element("div", { class: "picture", tabindex: 0, role: "region", "aria-label": "Comparison" });
  const metric = element("select", { onchange: () => redraw() }, METRICS.map((name) => element("option", { selected: name === search.get("metric") }, name)));
  const x = element("select", { onchange: () => redraw() },
    element("option", { value: "step" }, "step"), element("option", { value: "fraction", selected: search.get("x") === "fraction" }, "share of the run"));
  let view = null;
  const redraw = async () => {
    view?.finalize();
    view = null;
    if (!chosen.size) {
      picture.replaceChildren(element("p", { class: "quiet" }, "Choose experiments below."));
      return;
    }
    const wanted = new URLSearchParams({ metric: metric.value, x: x.value, theme: dark.matches ? "dark" : "light" });
    for (const id of chosen) wanted.append("experiment", id);
    history.replaceState(null, "", `#/compare?${wanted}`);
    try { view = await draw(picture, await ask(`compare.json?${wanted}`, { signal, reader: JSON.parse })); } catch (error) {
      if (!signal.aborted) picture.replaceChildren(problem(error));
    }
  };
  page.replaceChildren(element("h1", {}, "Compare"),
    element("div", { class: "bar" }, element("label", {}, "Metric", metric), element("label", {}, "Over", x)),
    picture,
    element("fieldset", {}, element("legend", {}, "Experiments"),
      items.length ? items.map((item) => element("div", {}, element("label", { class: "row" },
        element("input", { type: "checkbox", checked: chosen.has(item.id), onchange: (event) => {
          if (event.target.checked) chosen.add(item.id); else chosen.delete(item.id);
          redraw();
        } }), named(item), ` (${item.status})`)))
        : element("p", { class: "quiet" }, "Nothing has been run yet.")));
  dark.addEventListener("change", () => redraw(), { signal });
  signal.addEventListener("abort", () => view?.finalize());
  await redraw();
}
