// The HTTP API as the pages use it: one place for the token, the errors and the state of the connection.

import { parse, print } from "./json.js";
import { askToken, token } from "./token.js";

const RETRY_MS = 1000;
const connection = document.getElementById("connection");

export class Problem extends Error {
  constructor(body, status) {
    super(body.detail || body.title || `status ${status}`);
    this.status = status;
    this.errors = body.errors || [];
  }
}

const headers = (sent) => (sent ? { Authorization: `Bearer ${sent}` } : {});

const pause = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

// A GET is repeated until the server is back; anything that changes something is tried once.
async function open(path, options = {}) {
  for (;;) {
    let response;
    const sent = token();
    try {
      response = await fetch(path, { ...options, headers: { ...headers(sent), ...options.headers } });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      if ((options.method ?? "GET") !== "GET") throw new Problem({ detail: "The server does not answer. Try again." }, 0);
    }
    const away = !response || response.status === 502 || response.status === 503;
    connection.hidden = !away;
    if (away && (options.method ?? "GET") === "GET") {
      await pause(RETRY_MS, options.signal);
    } else if (response.status === 401) {
      await askToken(sent);
    } else {
      return response;
    }
  }
}

// What stands between may answer in its own words.
const read = (text, response, reader) => {
  if (response.ok) return reader(text);
  try { return parse(text); } catch { return { title: response.statusText }; }
};

// `reader` of a picture is JSON.parse: what draws it knows no BigInt.
export async function ask(path, options = {}) {
  for (;;) {
    const response = await open(path, options);
    if (response.status === 204) return null;
    const text = await response.text().catch((error) => {
      if (options.signal?.aborted || !response.ok || (options.method ?? "GET") !== "GET") throw error;
    });
    if (text === undefined) continue;  // the connection broke within the answer
    const body = read(text, response, options.reader ?? parse);
    if (!response.ok) throw new Problem(body, response.status);
    return body;
  }
}

// A text is sent as it is: what a user has typed is for the server to judge.
export const send = (method, path, body, extra = {}) => ask(path, {
  method,
  body: typeof body === "object" ? print(body) : body,
  headers: { "Content-Type": "application/json", ...extra },
});

// A file behind a token cannot be a plain link, so it is fetched and then handed to the browser.
export async function download(path, name) {
  const response = await open(path);
  if (!response.ok) throw new Problem(await response.json().catch(() => ({})), response.status);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

// Server-sent events by fetch, since EventSource cannot send a token; goes on after `Last-Event-ID` by itself.
export async function listen(path, signal, receive) {
  let last = null;
  while (!signal.aborted) {
    try {
      const response = await open(path, { signal, headers: last === null ? {} : { "Last-Event-ID": last } });
      if (!response.ok) return;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        buffer += value;
        const blocks = buffer.split("\n\n");
        buffer = blocks.pop();
        for (const block of blocks) {
          const event = { type: "message", data: "" };
          for (const line of block.split("\n")) {
            if (line.startsWith("id:")) last = line.slice(3).trim();
            if (line.startsWith("event:")) event.type = line.slice(6).trim();
            if (line.startsWith("data:")) event.data += line.slice(5).trim();
          }
          if (event.data) receive(event.type, parse(event.data));
          if (event.type === "end") return;
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      connection.hidden = false;
    }
    await pause(RETRY_MS, signal).catch(() => {});
  }
}
