import { ask, complain, element, id, socket } from "./wire.js";
import { speak, word } from "./words.js";

const at = (name) => document.getElementById(name);
let talk = JSON.parse(sessionStorage.getItem("talk") ?? "null"); // {conversation_id, token}
let shops = {};
let wire = null;
let shown = 0; // the number of the last message on this screen
let state = null;
const messages = new Map(); // number → message
const outgoing = []; // written here and not yet taken by the gateway, in order
let note = "";

const path = (rest) => `/v1/conversations/${talk.conversation_id}${rest}`;
const post = (rest, body, key) => ask("POST", path(rest), { token: talk.token, body, key });

function draw() {
  at("begin").hidden = talk !== null;
  at("chat").hidden = talk === null;
  if (talk === null) {
    if (Object.keys(shops).length === 0) at("begin").querySelector(".problem").textContent = word("no_shops");
    return;
  }
  at("with").textContent = state?.agent_id ? word("with_agent", { id: state.agent_id }) : word("with_robot");
  const queue = state?.queue;
  const about = queue?.estimated_wait_s ? word("waiting_about", { s: Math.round(queue.estimated_wait_s) }) : "";
  at("queue").textContent = note || (queue ? word("waiting_position", { n: queue.position - 1 }) + about : state?.state === "closed" ? word("closed") : "");
  at("close").disabled = at("complain").disabled = state?.state !== "open";
  at("rating").hidden = state?.state !== "closed";
  const lines = [...messages.values()].map((message) => {
    const kind = message.author.kind;
    const line = element("li", { className: kind === "customer" ? "mine" : kind }, message.text);
    line.dataset.messageId = message.message_id;
    const who = { bot: word("robot"), agent: `${word("agent_named")} ${message.author.id}` }[kind];
    const seen = kind === "customer" && message.seq <= (state?.read_to ?? 0);
    if (who || seen) line.append(element("small", {}, who ?? word("seen")));
    return line;
  });
  for (const message of outgoing) {
    lines.push(element("li", { className: "mine waiting" }, message.text, element("small", {}, word("sending"))));
  }
  at("messages").replaceChildren(...lines);
  at("messages").scrollTop = at("messages").scrollHeight;
}

function hear(frame) {
  if (frame.state) state = frame.state;
  if (frame.message) take(frame.message);
  draw();
  // Only when it is on the screen. What is sent a second time has a number that is shown already.
  if (frame.message) wire.say({ shown });
}

function take(message) {
  if (messages.has(message.seq)) return;
  messages.set(message.seq, message);
  shown = Math.max(shown, message.seq);
  if (message.author.kind !== "customer" && !message.read && document.visibilityState === "visible") {
    post("/read", { message_id: message.message_id }).catch(complain);
  }
}

function join() {
  messages.clear();
  shown = 0;
  wire = socket(path("/socket"), () => ({ token: talk.token, after: shown }), hear);
}

// One after the other: what was written first arrives first, however often it has to be sent.
let sending = false;
async function send() {
  if (sending) return;
  sending = true;
  try {
    while (outgoing.length > 0) {
      await post("/messages", outgoing[0]);
      outgoing.shift();
      complain(null);
    }
  } catch (error) {
    outgoing.shift();
    complain(error);
  }
  sending = false;
  draw();
}

at("begin").addEventListener("submit", async (event) => {
  event.preventDefault();
  const customer = { customer_id: `page-${id()}`, tier: at("tier").value, name: at("name").value.trim() || undefined };
  try {
    talk = await ask("POST", "/v1/conversations", { body: { shop_id: at("shop").value, channel: "web", language: document.documentElement.lang.slice(0, 2), customer } });
    sessionStorage.setItem("talk", JSON.stringify(talk));
    complain(null);
    join();
  } catch (error) { complain(error); }
  draw();
});

at("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("text").value.trim();
  if (!text) return;
  note = "";
  outgoing.push({ message_id: id(), text });
  at("text").value = "";
  draw();
  send();
});

const act = (name, work) => at(name).addEventListener("click", async () => {
  try { await work(); complain(null); } catch (error) { complain(error); }
  draw();
});
act("close", () => post("/close", { resolved: true }));
act("complain", async () => { await post("/complaints", {}); note = word("complained"); });
act("anew", async () => {
  wire.end();
  talk = state = null;
  note = "";
  sessionStorage.removeItem("talk");
});

for (let score = 1; score <= 5; score += 1) {
  const star = element("button", { type: "button" }, "★".repeat(score));
  star.dataset.score = score;
  star.addEventListener("click", async () => {
    try { await post("/rating", { score }); note = word("thanks"); } catch (error) { complain(error); }
    draw();
  });
  at("stars").append(star);
}

shops = await ask("GET", "/v1/shops");
at("shop").replaceChildren(...Object.keys(shops).sort().map((shop) => element("option", { value: shop }, shop)));
if (talk !== null) join();
speak(draw);
