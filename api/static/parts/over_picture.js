// @ts-check
// What is laid over a drawn picture: a line at the pointer through all panels, legends that hide, subscripts of symbols.

const SVG = "http://www.w3.org/2000/svg";
const SYMBOL = /(?<![\p{L}\p{N}_.-])([α-ωΑ-ΩWnd])_([A-Za-z0-9]{1,2})(?![\p{L}\p{N}_.-])/gu;  // as in ncore/pictures/subscripts.py
const SIZE = 0.72, DROP = 0.22;

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

/** A vertical line at the pointer, in every panel over the same axis, with its place. @param {Element} svg @param {any} view */
export function crosshair(svg, view) {
  const scopes = [...svg.querySelectorAll(".role-scope > g > path.background")];
  const places = scopes.length ? scopes : [...svg.querySelectorAll(".role-frame.root > g > path.background")];
  const scaleOf = (/** @type {number} */ i) => {
    for (const name of scopes.length ? [`concat_${i}_x`] : ["x"]) try { return view.scale(name); } catch { /* a histogram's own */ }
    return null;
  };
  const panels = places.map((frame, i) => ({ frame, scale: scaleOf(i) })).filter(({ scale }) => scale?.invert && scale.domain()[0] === 0)
    .map(({ frame, scale }) => {
      const line = part("line", { y1: 0, y2: /** @type {SVGGraphicsElement} */ (frame).getBBox().height, class: "cross" });
      const text = part("text", { y: -3, class: "cross", "text-anchor": "middle" });
      frame.parentElement?.append(line, text);
      return { frame, scale, line, text };
    });
  const clear = () => { for (const { line, text } of panels) for (const one of [line, text]) one.classList.remove("shown"); };
  const show = (/** @type {PointerEvent} */ event) => {
    clear();
    const at = panels.find(({ frame }) => {
      const { left, right, top, bottom } = frame.getBoundingClientRect();
      return event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    });
    if (!at) return;
    const { left, width } = at.frame.getBoundingClientRect(), [low, high] = at.scale.range();
    const value = at.scale.invert(low + (event.clientX - left) / width * (high - low));
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
