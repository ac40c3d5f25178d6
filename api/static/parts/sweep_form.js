// @ts-check
// A form for a sweep: its axes, paths that move together, a sample, how it is refined, its picture and its base.

import { axisRow } from "./axis_row.js";
import { element, fill } from "./element.js";
import { leaves } from "./spec.js";
import { helpOf, specForm } from "./spec_form.js";

/** @typedef {import("../server/api.js").Fault} Fault */
/** @typedef {import("./axis_row.js").Entry} Entry */
/** @typedef {{ name: string, axes: Entry[], zip: Entry[][], sample: any, box: Entry[], refine: any, picture: any, base: any, others: any }} State
 * what a request has, its paths as pairs: while they are typed two may be alike; `others` is what no sweep has */

const PICTURE = ["metric", "layer", "x", "y", "facet", "seeds"];
const FORMS = ["name", "axes", "zip", "sample", "refine", "picture", "base"];
const START = { axes: { from: 0.001, to: 0.1, points: 5, spacing: "log" }, sample: { points: 64, method: "sobol", seed: 0 }, refine: { metric: "rank", budget: 500 } };

const entriesOf = (/** @type {any} */ paths) => Object.entries(paths !== null && typeof paths === "object" ? paths : {});
const isEmpty = (/** @type {any} */ value) => value === undefined || value === null || (typeof value === "object" && !Object.keys(value).length);

/** @param {any} request @returns {State} */
function stateOf(request) {
  const { name = "", axes, zip, sample, refine, picture, base, ...others } = request;
  const { box, ...rest } = sample ?? {};
  return { name, axes: entriesOf(axes), zip: (Array.isArray(zip) ? zip : isEmpty(zip) ? [] : [zip]).map(entriesOf),
    sample: sample ? rest : null, box: entriesOf(box), refine: refine ?? null, picture: picture ?? {}, base: isEmpty(base) ? {} : base, others };
}

/** The request, without what says nothing. @param {State} state */
function requestOf({ name, axes, zip, sample, box, refine, picture, base, others }) {
  const groups = zip.map((group) => Object.fromEntries(group)).filter((group) => !isEmpty(group));
  /** @type {Record<string, any>} */
  const all = { name: name || null, axes: Object.fromEntries(axes), zip: groups.length === 1 ? groups[0] : groups,
    sample: sample ? { ...sample, box: Object.fromEntries(box) } : null, refine, picture };
  return { ...others, ...Object.fromEntries(FORMS.filter((form) => !isEmpty(all[form])).map((form) => [form, all[form]])), base };
}

/**
 * @param {Record<string, any>} all the API's schemas
 * @param {(request: any) => void} changed called with the whole request after each change of a field
 */
export function sweepForm(all, changed) {
  const node = element("div", { class: "spec-form" }), parts = element("div"), known = element("datalist", { id: "sweep-paths" });
  const schema = all.SweepRequest.properties, ranges = all.Range.properties;
  let state = stateOf({});
  /** @type {{ field: string, row: ReturnType<typeof axisRow> }[]} */
  let rows = [];
  /** @type {Map<string, HTMLElement>} */
  const places = new Map();

  const tell = () => changed(requestOf(state));
  const paths = () => fill(known, Object.keys(leaves(state.base)).map((path) => element("option", { value: path })));
  const baseForm = specForm(all, (base) => { state.base = base; paths(); tell(); }, "base-");
  const sampleForm = specForm(all, (sample) => { state.sample = sample; tell(); }, "sample-");
  const refineForm = specForm(all, (refine) => { state.refine = refine; tell(); }, "refine-");
  const pictureForm = specForm(all, (picture) => { state.picture = picture; tell(); }, "picture-");
  const name = element("input", { id: "name", maxlength: 200, autocomplete: "off", oninput: () => { state.name = name.value; tell(); } });

  const anew = () => { draw(); tell(); };
  /** A path that is not varied yet, and the values to start from. @param {string[]} taken @returns {Entry} */
  const next = (taken) => {
    const free = ["regularization.features", "regularization.weights", "optimizer.learning_rate", "seeds"].find((path) => !taken.includes(path)
      && leaves(state.base)[path] !== undefined);
    return free === "seeds" ? [free, [0, 1, 2]] : [free ?? "", { ...START.axes }];
  };
  const taken = () => [...state.axes, ...state.zip.flat(), ...state.box].map(([path]) => path);
  /** @param {string} field @param {string} label @param {Entry[]} entries @param {boolean} ranged */
  const group = (field, label, entries, ranged) => entries.map((entry, i) => {
    const row = axisRow({ field: `${field}-${i}`, label: `${label} ${i + 1}`, entry, ranged, ranges, changed: tell, anew,
      help: (path) => helpOf(all, state.base, path), remove: () => { entries.splice(i, 1); anew(); } });
    rows.push({ field, row });
    return row.node;
  });
  const button = (/** @type {string} */ text, /** @type {() => void} */ work) => element("button", { type: "button", onclick: () => { work(); anew(); } }, text);
  /** @param {string} form @param {string} title @param {import("./element.js").Children[]} children */
  const section = (form, title, ...children) => {
    const fault = element("small", { class: "bad" });
    places.set(form, fault);
    return element("fieldset", { id: `form-${form}` }, element("legend", {}, title), element("small", { class: "quiet" }, schema[form].description ?? ""), fault, ...children);
  };
  const draw = () => {
    const { zip, sample, refine, picture } = state;
    rows = [];
    paths();
    if (sample) sampleForm.show(sample, { properties: Object.fromEntries(["points", "method", "seed"].map((key) => [key, all.Sample.properties[key]])) });
    if (refine) refineForm.show(refine, all.Refine);
    pictureForm.show(picture, { properties: Object.fromEntries(PICTURE.map((key) => [key, { type: "string" }])) });
    fill(parts,
      section("axes", "Axes: every value with every other", group("axes", "axis", state.axes, true),
        element("p", { class: "actions" }, button("Add an axis", () => state.axes.push(next(taken()))))),
      section("zip", "Together: paths whose values move as one (zip)", zip.map((entries, i) => element("fieldset", {}, element("legend", {}, `Group ${i + 1}`),
        group(zip.length > 1 ? `zip.${i}` : "zip", `path of group ${i + 1},`, entries, true),
        element("p", { class: "actions" }, button("Add a path", () => entries.push(next(taken()))), button("Remove the group", () => zip.splice(i, 1))))),
      element("p", { class: "actions" }, button("Add a group", () => zip.push([next(taken())])))),
      section("sample", "Sample: points of a box in place of a grid", sample ? [sampleForm.node, ...group("sample.box", "side", state.box, false),
        element("p", { class: "actions" }, button("Add a side", () => state.box.push(sideOf(next(taken())))), button("Remove the sample", () => { state.sample = null; state.box = []; }))]
        : element("p", { class: "actions" }, button("Add a sample", () => { state.sample = { ...START.sample }; state.box = [sideOf(next(taken()))]; }))),
      section("refine", "Refine: go on where the answer changes", refine ? [refineForm.node, element("p", { class: "actions" }, button("Do not refine", () => { state.refine = null; }))]
        : element("p", { class: "actions" }, button("Refine", () => { state.refine = { ...START.refine }; }))),
      section("picture", "Picture", pictureForm.node));
  };
  /** A side of a box has no number of points. @param {Entry} entry @returns {Entry} */
  const sideOf = ([path, value]) => {
    if (Array.isArray(value)) return [path, value];
    const { points: _, ...rest } = value;
    return [path, rest];
  };
  fill(node, known, element("div", { class: "spec-field" }, element("label", { for: "name" }, "Name"), name), parts,
    element("details", { open: true }, element("summary", {}, "Base: the config that all combinations start from"), baseForm.node));
  return {
    node,
    /** @param {any} request as POST /sweeps takes it, its base written out */
    show(request) {
      state = stateOf(request);
      name.value = state.name;
      baseForm.show(state.base);
      draw();
    },
    /** Marks the fields that have a fault, and clears the others. @param {Fault[]} faults */
    mark(faults) {
      const left = new Set(faults);
      const take = (/** @type {(field: string) => boolean} */ isMine) => {
        const mine = [...left].filter(({ field }) => isMine(field));
        for (const one of mine) left.delete(one);
        return mine;
      };
      /** @param {string} before @param {{ mark(faults: Fault[]): Fault[] }} form */
      const inside = (before, form) => {
        const mine = take((field) => field.startsWith(before));
        for (const one of form.mark(mine.map((fault) => ({ ...fault, field: fault.field.slice(before.length) })))) left.add({ ...one, field: before + one.field });
      };
      for (const { field, row } of rows) {
        const own = `${field}.${row.path()}`;
        const mine = take((path) => path === own || path.startsWith(`${own}.`));
        const alike = rows.filter((other) => other.field === field && other.row.path() === row.path());
        const twice = alike.length > 1 ? "is given twice: give all its values in one line" : "";
        row.say([...mine.map(({ field: path, message }) => [path.slice(own.length + 1), message].filter(Boolean).join(": ")), twice].filter(Boolean).join("; "));
      }
      inside("base.", baseForm);
      inside("sample.", sampleForm);
      inside("refine.", refineForm);
      inside("picture.", pictureForm);
      for (const [form, place] of places) {
        fill(place, take((path) => path === form || path.startsWith(`${form}.`)).map(({ field, message }) => `${field === form ? "" : `${field}: `}${message}`).join("; "));
      }
    },
  };
}
