// @ts-check
// What is laid over a drawn picture: a line at the pointer through all panels, legends that hide, subscripts of symbols.

const SVG = "http://www.w3.org/2000/svg";
const SYMBOL = /(?<![\p{L}\p{N}_.-])([α-ωΑ-ΩWnd])_([A-Za-z0-9]{1,2})(?![\p{L}\p{N}_.-])/gu;  // as in ncore/pictures/subscripts.py
const SIZE = 0.72, DROP = 0.22, LEAST_DRAG_PIXELS = 6;

/** @param {string} tag @param {Record<string, any>} attributes @param {string} [text] */
const part = (tag, attributes, text) => {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
};

/** λ_W as a λ with a lowered W. @param {Element} svg */
export function lowerSubscripts(svg) {
  for (const text of svg.querySelectorAll("text")) {
    const said = text.textContent ?? "";
    if (text.childElementCount || !said.match(SYMBOL)) continue;
    const pieces = said.split(SYMBOL);
    text.replaceChildren(pieces[0]);
    for (let i = 1; i < pieces.length; i += 3) {
      text.append(pieces[i], part("tspan", { "font-size": `${100 * SIZE}%`, dy: `${DROP / SIZE}em` }, pieces[i + 1]));
      if (pieces[i + 2]) text.append(part("tspan", { dy: `-${DROP}em` }, pieces[i + 2]));
    }
  }
}

/** Handles a click on an entry of a legend; a hidden curve's entry is kept, pale. @param {Element} svg @param {Set<string>} hidden
 * @param {(value: string) => void} toggle */
export function hideByLegend(svg, hidden, toggle) {
  for (const mark of svg.querySelectorAll(".role-legend-label text, .role-legend-symbol path")) {
    const value = String(/** @type {any} */ (mark).__data__?.datum?.value ?? "");
    if (!value) continue;
    mark.classList.add("hides");
    mark.classList.toggle("pale", hidden.has(value));
    mark.addEventListener("click", () => toggle(value));
  }
}

/** @typedef {{ frame: Element, scale: any }} StepPanel a panel over the steps: its background and its horizontal scale */

/** The panels over the steps, all of one axis. @param {Element} svg @param {any} view @param {number} first where the axis begins @returns {StepPanel[]} */
function stepPanels(svg, view, first) {
  const scopes = [...svg.querySelectorAll(".role-scope > g > path.background")];
  const places = scopes.length ? scopes : [...svg.querySelectorAll(".role-frame.root > g > path.background")];
  const scaleOf = (/** @type {number} */ i) => {
    for (const name of scopes.length ? [`concat_${i}_x`] : ["x"]) try { return view.scale(name); } catch { /* a histogram's own */ }
    return null;
  };
  return places.map((frame, i) => ({ frame, scale: scaleOf(i) })).filter(({ scale }) => scale?.invert && scale.domain()[0] === first);
}

/** The panel under the pointer. @template {StepPanel} Panel @param {Panel[]} panels @param {PointerEvent} event */
const under = (panels, event) => panels.find(({ frame }) => {
  const { left, right, top, bottom } = frame.getBoundingClientRect();
  return event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
});

/** The place on the axis under the pointer, at most at the panel's edge. @param {StepPanel} panel @param {PointerEvent} event @returns {number} */
function placeOf({ frame, scale }, event) {
  const { left, width } = frame.getBoundingClientRect(), [low, high] = scale.range();
  return scale.invert(low + Math.min(1, Math.max(0, (event.clientX - left) / width)) * (high - low));
}

/** A vertical line at the pointer, in every panel over the same axis, with its place. @param {Element} svg @param {any} view @param {number} first where the axis begins */
export function crosshair(svg, view, first) {
  const panels = stepPanels(svg, view, first).map(({ frame, scale }) => {
    const line = part("line", { y1: 0, y2: /** @type {SVGGraphicsElement} */ (frame).getBBox().height, class: "cross" });
    const text = part("text", { y: -3, class: "cross", "text-anchor": "middle" });
    frame.parentElement?.append(line, text);
    return { frame, scale, line, text };
  });
  const clear = () => { for (const { line, text } of panels) for (const one of [line, text]) one.classList.remove("shown"); };
  const show = (/** @type {PointerEvent} */ event) => {
    clear();
    const at = under(panels, event);
    if (!at) return;
    const value = placeOf(at, event);
    for (const { scale, line, text } of panels) {
      const x = scale(value);
      if (!(x >= Math.min(...scale.range()) && x <= Math.max(...scale.range()))) continue;
      for (const name of ["x1", "x2"]) line.setAttribute(name, x);
      text.setAttribute("x", x);
      text.textContent = value < 10 ? value.toPrecision(2) : Math.round(value).toLocaleString();
      for (const one of [line, text]) one.classList.add("shown");
    }
  };
  svg.addEventListener("pointermove", /** @type {EventListener} */ (show));
  svg.addEventListener("pointerleave", clear);
}

/** A range of steps, chosen by dragging across a panel and shown in all; a double click brings all steps back.
 * @param {SVGElement} svg @param {any} view @param {number} first where the axis begins @param {(range: [number, number] | null) => void} choose */
export function brush(svg, view, first, choose) {
  const panels = stepPanels(svg, view, first).map(({ frame, scale }) => {
    const box = part("rect", { y: 0, height: /** @type {SVGGraphicsElement} */ (frame).getBBox().height, class: "brush" });
    frame.parentElement?.append(box);
    return { frame, scale, box };
  });
  svg.addEventListener("pointerdown", (event) => {
    const at = under(panels, event);
    if (!at || event.button) return;
    event.preventDefault();  // the texts of the picture are not selected
    const begin = placeOf(at, event), ending = new AbortController();
    const range = (/** @type {PointerEvent} */ now) => /** @type {[number, number]} */ ([begin, placeOf(at, now)].sort((a, b) => a - b));
    const end = () => { ending.abort(); for (const { box } of panels) box.classList.remove("shown"); };
    addEventListener("pointermove", (now) => {
      for (const { scale, box } of panels) {
        const [left, right] = range(now).map(scale);
        box.setAttribute("x", String(left));
        box.setAttribute("width", String(Math.max(0, right - left)));
        box.classList.add("shown");
      }
    }, { signal: ending.signal });
    addEventListener("pointerup", (now) => {
      end();
      if (Math.abs(now.clientX - event.clientX) > LEAST_DRAG_PIXELS) choose(range(now));
    }, { signal: ending.signal });
    addEventListener("pointercancel", end, { signal: ending.signal });
  });
  svg.addEventListener("dblclick", (event) => { if (under(panels, /** @type {any} */ (event))) choose(null); });
}
