// @ts-check
// JSON without loss: integers beyond 2^53 (a seed may be one) are read as BigInt and written as they were.

const LARGE = /(?<![\d.])\d{16,}(?![\d.eE])/;

/** @typedef {{ source: string }} Context what newer browsers tell a reviver: the text that a value was read from */

/** @type {(key: string, value: unknown, context?: Context) => unknown} */
const exact = (_, value, context) => {
  if (typeof value !== "number" || Number.isSafeInteger(value) || (Number.isFinite(value) && value % 1)) return value;
  if (!context?.source) throw new RangeError(`this browser is too old to keep the integer ${value} exactly`);
  return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
};

/** @param {string} text @returns {any} */
export const parse = (text) => (LARGE.test(text) ? JSON.parse(text, exact) : JSON.parse(text));

/** Characters that are not seen, or that turn the text around them: controls, bidirectional marks, spaces without width,
 * halves of surrogate pairs, what is no character. Tab and line break are shown as what they are. */
const ODD = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u{1d173}-\u{1d17a}\p{Noncharacter_Code_Point}]/gu;
const JOINERS = /[\u200c\u200d]/;

/** @param {string} odd */
const escaped = (odd) => odd.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");

/** Whether it joins letters or emoji, as in Persian and in families.
 * @param {string} text @param {number} at */
const joins = (text, at) => /^[\p{L}\p{M}\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f]$/u.test(Array.from(text.slice(Math.max(0, at - 2), at)).at(-1) ?? "")
  && /^[\p{L}\p{Extended_Pictographic}]/u.test(text.slice(at + 1, at + 3));

/** The text with its odd characters written as JSON writes them. @param {string} text */
export const visible = (text) => text.replace(ODD, (odd, at) => (odd === "\t" || odd === "\n"
  || (JOINERS.test(odd) && joins(text, at)) ? odd : escaped(odd)));

/** Whether there is anything to be seen. @param {string} text */
export const hasInk = (text) => /[\p{L}\p{N}\p{P}\p{S}]/u.test(text.replace(ODD, ""));

/** The value as JSON, its odd characters escaped; nothing for undefined.
 * @param {unknown} value @param {number} [indent] */
export const print = (value, indent) => {
  /** @type {any} */
  const { rawJSON } = /** @type {any} */ (JSON);
  const text = JSON.stringify(value, (_, one) => (typeof one === "bigint" ? rawJSON(String(one)) : one), indent) ?? "";
  return text.replace(ODD, (odd) => (odd === "\n" ? odd : escaped(odd)));
};
