// @ts-check
// Every verdict with what it means and the thresholds by which it is given.

import { element, table, title } from "../parts/element.js";
import { words } from "../parts/format.js";
import { meanings } from "../parts/verdicts.js";

/** @param {import("../app.js").Place} place */
export async function show({ node: page, search }) {
  title("Verdicts");
  const chosen = search.get("verdict");
  const rows = (await meanings()).map(({ verdict, meaning, criterion }) => element("tr", { class: verdict === chosen ? "chosen" : null },
    element("th", { scope: "row", class: "nowrap" }, words(verdict)), element("td", {}, meaning), element("td", {}, criterion)));
  page.replaceChildren(element("h1", {}, "Verdicts"),
    element("p", { class: "quiet" }, "What a seed has reached, by its last measurement of the last layer. f is the objective, K the number of classes."),
    table("Verdicts", [["Verdict"], ["Meaning"], ["Given where"]], rows));
  page.querySelector(".chosen")?.scrollIntoView({ block: "center" });
}
