// @ts-check
// The HTTP API as the pages use it: one place for the token, the errors and the state of the connection.

import { parse, print } from "./json.js";
import { askToken, token } from "./token.js";

const RETRY_MS = 1000;
const connection = /** @type {HTMLElement} */ (document.getElementById("connection"));

/** @typedef {{ field: string, message: string }} Fault */
/** @typedef {Omit<RequestInit, "headers"> & { headers?: Record<string, string>, reader?: (text: string) => any }} Options
 * `reader` of a picture is JSON.parse: what draws it knows no BigInt */

/** An answer that is an error, as RFC 9457 writes it. */
export class Problem extends Error {
  /** @param {{ detail?: string, title?: string, errors?: Fault[] }} body @param {number} status */
  constructor(body, status) {
    super(body.detail || body.title || `status ${status}`);
    this.status = status;
    this.errors = body.errors ?? [];
  }
}

/** @param {Options} options */
const onlyReads = (options) => (options.method ?? "GET") === "GET";

/** @param {number} ms @param {AbortSignal | null} [signal] */
const pause = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

/** The answer, whatever its status. A GET is repeated until the server is back; what changes something is sent once.
 * @param {string} path @param {Options} [options] */
async function open(path, options = {}) {
  for (;;) {
    const sent = token();
    /** @type {Record<string, string>} */
    const authorization = sent ? { Authorization: `Bearer ${sent}` } : {};
    const response = await fetch(path, { ...options, headers: { ...authorization, ...options.headers } }).catch((error) => {
      if (options.signal?.aborted) throw error;
      if (!onlyReads(options)) throw new Problem({ detail: "The server does not answer. Try again." }, 0);
    });
    const away = !response || response.status === 502 || response.status === 503;
    connection.hidden = !away;
    if (!response || (away && onlyReads(options))) await pause(RETRY_MS, options.signal);
    else if (response.status === 401) await askToken(sent);
    else return response;
  }
}

/** An error's body; what stands between browser and server may answer in its own words. @param {string} text @param {Response} response */
const fault = (text, response) => {
  try { return parse(text); } catch { return { title: response.statusText }; }
};

/** The JSON of an answer. Throws a Problem.
 * @param {string} path @param {Options} [options] @returns {Promise<any>} */
export async function ask(path, options = {}) {
  for (;;) {
    const response = await open(path, options);
    if (response.status === 204) return null;
    const text = await response.text().catch((error) => {
      if (options.signal?.aborted || !response.ok || !onlyReads(options)) throw error;
    });
    if (text === undefined) continue;  // the connection broke within the answer
    if (!response.ok) throw new Problem(fault(text, response), response.status);
    return (options.reader ?? parse)(text);
  }
}

/** A text is sent unchanged: the server judges what a user has typed.
 * @param {string} method @param {string} path @param {unknown} [body] @param {Options} [options] */
export const send = (method, path, body, options = {}) => ask(path, {
  ...options,
  method,
  body: typeof body === "object" ? print(body) : /** @type {string | undefined} */ (body),
  headers: { "Content-Type": "application/json", ...options.headers },
});

/** A key under which the same request, sent twice, is done once. */
export const onlyOnce = () => ({ headers: { "Idempotency-Key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` } });

/** Saves a file. Behind a token it cannot be a plain link, so it is fetched and then handed to the browser.
 * @param {string} path @param {string} name */
export async function download(path, name) {
  const response = await open(path);
  if (!response.ok) throw new Problem(fault(await response.text(), response), response.status);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** @param {string} block @returns {{ id?: string, event?: string, data?: string }} */
const event = (block) => Object.fromEntries(block.split("\n").map((line) => {
  const at = line.indexOf(":");
  return [line.slice(0, at), line.slice(at + 1).trim()];
}));

/** Server-sent events by fetch, since EventSource cannot send a token; resumes after `Last-Event-ID` by itself.
 * @param {string} path @param {AbortSignal} signal @param {(type: string, data: any) => void} receive */
export async function listen(path, signal, receive) {
  /** @type {string | undefined} */
  let last;
  while (!signal.aborted) {
    try {
      const response = await open(path, { signal, headers: last === undefined ? {} : { "Last-Event-ID": last } });
      if (!response.ok || !response.body) return;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let buffer = ""; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        const blocks = (buffer + value).split("\n\n");
        buffer = blocks.pop() ?? "";
        for (const { id, event: type = "message", data } of blocks.map(event)) {
          last = id ?? last;
          if (data) receive(type, parse(data));
          if (type === "end") return;
        }
      }
    } catch {
      if (signal.aborted) return;
      connection.hidden = false;
    }
    await pause(RETRY_MS, signal).catch(() => {});
  }
}
