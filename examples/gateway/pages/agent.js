import { ask, complain, element, id, pause, socket } from "./wire.js";
import { speak, word } from "./words.js";

const at = (name) => document.getElementById(name);
let me = JSON.parse(sessionStorage.getItem("me") ?? "null"); // {agent_id, token, shop}
let shops = {};
let wire = null;
let connected = false;
let desk = { status: "offline", conversations: [] };
let open = null; // id of the conversation on the right
let view = null; // what the gateway says of it
const read = new Set();

const path = (rest) => `/v1/agents/${encodeURIComponent(me.agent_id)}${rest}`;
const post = (rest, body, key) => ask("POST", path(rest), { token: me.token, body, key });
const within = (rest, body) => post(`/conversations/${open}${rest}`, body);
const seconds = (time) => Math.round((Date.now() - Date.parse(time)) / 1000);

function draw() {
  at("login").hidden = me !== null;
  at("desk").hidden = me === null;
  if (me === null) {
    const people = shops[at("shop").value] ?? {};
    const chosen = at("agent").value;
    at("agent").replaceChildren(...Object.entries(people).map(([agent, name]) => element("option", { value: agent }, name)));
    if (chosen in people) at("agent").value = chosen;
    return;
  }
  at("me").textContent = shops[me.shop]?.[me.agent_id] ?? me.agent_id;
  at("connection").textContent = word(connected ? "connected" : "connecting");
  for (const button of document.querySelectorAll("[data-status]")) {
    button.setAttribute("aria-pressed", String(button.dataset.status === desk.status));
  }
  at("conversations").replaceChildren(...desk.conversations.map(entry));
  drawOpen();
}

// Only its text changes as time passes: a button beside it must not be drawn anew under somebody's finger.
function timer(name, time) {
  const made = element("div", { className: "timer" });
  Object.assign(made.dataset, { name, time });
  tick(made);
  return made;
}

function tick(made) {
  const passed = seconds(made.dataset.time);
  made.textContent = word(made.dataset.name, { s: Math.max(0, made.dataset.name === "left" ? -passed : passed) });
}

function entry(one) {
  const customer = one.customer;
  const line = element("li", { className: one.standing },
    element("strong", {}, customer.name ?? customer.customer_id), ` ${word(customer.tier ?? "regular")} `,
    element("small", {}, word(one.on_hold ? "on_hold" : one.standing)));
  line.dataset.conversationId = one.conversation_id;
  line.classList.toggle("open", one.conversation_id === open);
  if (one.waiting_since) line.append(timer("waits", one.waiting_since));
  if (one.reminder) line.append(element("div", { className: "late" }, word(`reminder_${one.reminder.kind}`)));
  if (one.standing === "offered") {
    if (one.accept_by) line.append(timer("left", one.accept_by));
    for (const answer of ["accept", "decline"]) {
      const button = element("button", { type: "button", className: answer }, word(answer));
      button.addEventListener("click", (event) => {
        event.stopPropagation();
        perform(async () => {
          await post(`/assignments/${one.assignment_id}/${answer}`, {});
          if (answer === "accept") await show(one.conversation_id);
        });
      });
      line.append(button);
    }
  }
  line.addEventListener("click", () => perform(() => show(one.conversation_id)));
  return line;
}

function drawOpen() {
  at("open").hidden = view === null;
  at("nothing").hidden = view !== null;
  if (view === null) return;
  const mine = desk.conversations.find((one) => one.conversation_id === open);
  const customer = view.customer;
  at("about").replaceChildren(element("strong", {}, customer.name ?? customer.customer_id),
    ` · ${view.shop_id} · ${view.channel} · ${word(customer.tier ?? "regular")} `);
  for (const clock of view.clocks) {
    at("about").append(element("span", { className: "late" }, ` ${clock.metric}: ${word(clock.state === "breached" ? "overdue" : "warning")} `));
  }
  for (const complaint of view.complaints.filter((one) => one.state === "open")) {
    const button = element("button", { type: "button", className: "close-complaint" }, word("close_complaint"));
    button.addEventListener("click", () => perform(() => within(`/complaints/${complaint.complaint_id}/close`)));
    at("about").append(button);
  }
  for (const name of ["hold", "transfer", "resolved", "unresolved"]) at(name).disabled = mine?.standing !== "held";
  at("hold").textContent = word(view.on_hold ? "resume" : "hold");
  const target = at("transfer-to").value;
  at("transfer-to").replaceChildren(element("option", { value: "" }, word("transfer_anybody")),
    ...Object.entries(shops[view.shop_id] ?? shops[me.shop] ?? {}).filter(([agent]) => agent !== me.agent_id)
      .map(([agent, name]) => element("option", { value: agent }, word("transfer_agent", { name }))));
  at("transfer-to").value = target;
  at("messages").replaceChildren(...view.messages.map((message) => {
    const kind = message.author.kind;
    const line = element("li", { className: kind === "agent" ? "mine" : kind }, message.text);
    line.dataset.messageId = message.message_id;
    const fate = message.fate && message.fate !== "delivered" ? word(`${message.fate}_reply`) : "";
    const seen = kind === "agent" && message.read ? word("seen") : "";
    const who = { bot: word("robot") + fate, agent: message.author.id }[kind] ?? "";
    if (who || seen) line.append(element("small", {}, `${who} ${seen}`));
    return line;
  }));
  at("messages").scrollTop = at("messages").scrollHeight;
  at("hints").textContent = view.suggestions.length ? word("suggestions", { ids: view.suggestions.map((one) => one.entry_id).join(", ") }) : "";
}

async function show(conversation) {
  open = conversation;
  const found = await ask("GET", path(`/conversations/${conversation}`), { token: me.token });
  if (open !== conversation) return;
  view = found;
  const last = view.messages.findLast((message) => message.author.kind === "customer");
  if (last && !last.read && !read.has(last.message_id) && document.visibilityState === "visible") {
    read.add(last.message_id);
    await within("/read", { message_id: last.message_id });
  }
}

async function perform(work) {
  try { await work(); complain(null); } catch (error) { complain(error); }
  draw();
}

function hear(frame) {
  desk = frame.desk;
  const mine = desk.conversations.find((one) => one.conversation_id === open);
  if (mine && mine.version !== view?.version) perform(() => show(open));
  // It has gone to somebody else, or has ended: look once more, and the buttons say what can still be done.
  else if (open !== null && !mine && view?.state === "open") perform(() => show(open));
  draw();
}

function join() {
  wire = socket(path("/socket"), () => ({ token: me.token }), hear, { beat: 15000, state: (is) => { connected = is; draw(); } });
}

at("shop").addEventListener("change", draw);
at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const agent = at("agent").value;
  await perform(async () => {
    const { token } = await ask("POST", `/v1/agents/${encodeURIComponent(agent)}/session`, { body: { staff_token: at("staff-token").value || null } });
    me = { agent_id: agent, token, shop: at("shop").value };
    sessionStorage.setItem("me", JSON.stringify(me));
    join();
    await ask("PUT", path("/status"), { token, body: { status: "online" } });
  });
});
for (const button of document.querySelectorAll("[data-status]")) {
  button.addEventListener("click", () => perform(() => ask("PUT", path("/status"), { token: me.token, body: { status: button.dataset.status } })));
}
at("log-out").addEventListener("click", () => perform(async () => {
  await ask("PUT", path("/status"), { token: me.token, body: { status: "offline" } });
  wire.end();
  me = view = open = null;
  desk = { status: "offline", conversations: [] };
  sessionStorage.removeItem("me");
}));
at("hold").addEventListener("click", () => perform(() => within(view.on_hold ? "/resume" : "/hold", {})));
at("transfer").addEventListener("click", () => perform(() => {
  const agent = at("transfer-to").value;
  return within("/transfer", agent ? { to: { agent_id: agent } } : {});
}));
at("resolved").addEventListener("click", () => perform(() => within("/close", { resolved: true })));
at("unresolved").addEventListener("click", () => perform(() => within("/close", { resolved: false })));
at("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("text").value.trim();
  if (!text) return;
  at("text").value = "";
  perform(async () => {
    const last = view.messages.findLast((message) => message.author.kind === "customer");
    await within("/messages", { text, message_id: id(), in_reply_to: last?.message_id });
    await show(open);
  });
});

shops = await ask("GET", "/v1/shops");
at("shop").replaceChildren(...Object.keys(shops).sort().map((shop) => element("option", { value: shop }, shop)));
if (me !== null) join();
speak(draw);
for (;;) {
  await pause(1000);
  document.querySelectorAll(".timer").forEach(tick);
}
