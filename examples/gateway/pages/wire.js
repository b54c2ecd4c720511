// How the pages speak with the gateway: HTTP with retries that change nothing twice, and a WebSocket that comes back.

import { word } from "./words.js";

export const id = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
export const element = (name, properties = {}, ...inside) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...inside);
  return made;
};

export class Problem extends Error {
  constructor(code, why) {
    super(why);
    this.code = code;
  }
}

export function complain(error) {
  const known = { closed: 1, not_yours: 1, too_late: 1, no_token: 1, busy: 1, network: 1 };
  const text = !error ? "" : known[error.code] ? word(`problem_${error.code}`) : word("problem_other", { why: error.message });
  for (const place of document.querySelectorAll(".problem")) place.textContent = text;
}

// The same request again and again until somebody answers it: message_id or Idempotency-Key makes that safe.
export async function ask(method, path, { token, body, key = id() } = {}) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
  if (token) headers.Authorization = `Bearer ${token}`;
  for (let wait = 500; ; wait = Math.min(wait * 2, 5000)) {
    let answer;
    try {
      answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch {
      complain(new Problem("network"));
      await pause(wait);
      continue;
    }
    if (answer.status === 503) {
      complain(new Problem("busy"));
      await pause(wait);
      continue;
    }
    const found = await answer.json();
    if (!answer.ok) throw new Problem(found.code, found.message);
    return found;
  }
}

// A WebSocket that is opened again whenever it breaks. `hello` is asked each time: it says what is on the screen by then.
export function socket(path, hello, hear, { beat, state = () => {} } = {}) {
  let current = null;
  let ended = false;
  const open = () => {
    current = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
    current.onopen = () => { current.send(JSON.stringify(hello())); state(true); };
    current.onmessage = (event) => hear(JSON.parse(event.data));
    current.onclose = (event) => {
      state(false);
      if (event.code === 4401) complain(new Problem("no_token"));
      else if (!ended) setTimeout(open, 1000);
    };
  };
  const say = (frame) => { if (current?.readyState === WebSocket.OPEN) current.send(JSON.stringify(frame)); };
  const beating = beat ? setInterval(() => say({}), beat) : null;
  open();
  return { say, end() { ended = true; clearInterval(beating); current.close(); } };
}
