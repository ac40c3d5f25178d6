// @ts-check
// A curve of a few pixels, on a logarithmic axis.

const WIDTH = 90, HEIGHT = 24, EDGE = 2, LEAST = 1e-300, SPACE = "http://www.w3.org/2000/svg";

/** @param {{ steps: number[], values: (number | null)[] } | null | undefined} curve */
export function spark(curve) {
  const points = (curve?.values ?? []).flatMap((value, i) => (value !== null && value > 0 ? [[Math.log1p(curve?.steps[i] ?? 0), Math.log10(Math.max(value, LEAST))]] : []));
  if (points.length < 2) return "";
  const [left, right] = [points[0][0], points[points.length - 1][0]], all = points.map(([, y]) => y);
  const low = Math.min(...all), high = Math.max(...all), end = all[all.length - 1];
  const x = (/** @type {number} */ at) => EDGE + ((at - left) / (right - left || 1)) * (WIDTH - 2 * EDGE);
  const y = (/** @type {number} */ at) => HEIGHT - EDGE - ((at - low) / (high - low || 1)) * (HEIGHT - 2 * EDGE);
  const svg = document.createElementNS(SPACE, "svg"), line = document.createElementNS(SPACE, "polyline");
  for (const [name, value] of Object.entries({ class: "spark", width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `NC1 from ${(10 ** all[0]).toExponential(0)} to ${(10 ** end).toExponential(0)}` })) svg.setAttribute(name, String(value));
  line.setAttribute("points", points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" "));
  svg.append(line);
  return svg;
}
