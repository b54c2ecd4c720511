// Every word that a page shows, in Chinese and in English. The choice is kept by the browser.

const WORDS = {
  zh: {
    other_language: "English",
    both_sides: "一个人演两边",
    both_sides_how: "一个窗口当顾客，另一个窗口当客服，看消息怎样被自动回复、分配和计时。",
    as_customer: "我是顾客", as_agent: "我是客服",
    ask_us: "联系客服", shop: "店铺", your_name: "称呼", tier: "会员等级",
    tier_regular: "普通会员", tier_new: "新顾客", tier_vip: "贵宾", begin: "开始咨询",
    write_here: "请输入消息……", send: "发送", finish: "结束会话", anew: "新会话", complain: "投诉",
    rate_us: "请为本次服务打分：", thanks: "感谢您的评价！", complained: "投诉已登记，我们会尽快处理。",
    robot: "智能客服", agent_named: "客服", waiting_position: "正在排队，前面还有 {n} 位", waiting_about: "，约 {s} 秒",
    with_robot: "智能客服", with_agent: "客服 {id} 为您服务", closed: "会话已结束，发消息可重新开始", seen: "已读", sending: "发送中……",
    agents_desk: "客服工作台", agent: "客服", staff_token: "员工口令（如需）", log_in: "登录", log_out: "退出",
    online: "在线", away: "小休", offline: "离线", connected: "已连接", connecting: "连接中……",
    accept: "接受", decline: "拒绝", offered: "待接受", held: "服务中", on_hold: "已挂起",
    hold: "挂起", resume: "恢复", transfer: "转接", transfer_anybody: "按策略转接", transfer_agent: "转给 {name}",
    resolved: "结束（已解决）", unresolved: "结束（未解决）", nothing_open: "选择左侧的会话",
    waits: "顾客已等待 {s} 秒", left: "剩 {s} 秒", overdue: "超时", warning: "即将超时", suggestions: "知识库建议：{ids}",
    reminder_unread: "有未读消息", reminder_unanswered: "有未回复消息", complaint: "投诉", close_complaint: "关闭投诉",
    vip: "贵宾", regular: "普通", new: "新客",
    late_reply: "（未送达：已过时限）", overtaken_reply: "（未送达：客服已先回复）", unconfirmed_reply: "（是否送达未知）", pending_reply: "（发送中）",
    no_shops: "还没有店铺配置。请先运行 deskline up。",
    problem_closed: "会话已结束。", problem_not_yours: "这个会话不是您的，请先接受。", problem_too_late: "已经超过接受时限。",
    problem_no_token: "口令不对，请重新登录。", problem_busy: "系统繁忙，请稍后再试。", problem_network: "网络中断，正在重试……", problem_other: "没有成功：{why}",
  },
  en: {
    other_language: "中文",
    both_sides: "Play both sides",
    both_sides_how: "Be the customer in one window and the agent in another, and see messages answered, assigned and timed.",
    as_customer: "I am a customer", as_agent: "I am an agent",
    ask_us: "Ask us", shop: "Shop", your_name: "Your name", tier: "Tier",
    tier_regular: "Regular", tier_new: "New", tier_vip: "VIP", begin: "Begin",
    write_here: "Write here…", send: "Send", finish: "End", anew: "New conversation", complain: "Complain",
    rate_us: "How was it?", thanks: "Thank you!", complained: "Your complaint is noted; we are on it.",
    robot: "Assistant", agent_named: "Agent", waiting_position: "In the queue, {n} before you", waiting_about: ", about {s} s",
    with_robot: "Assistant", with_agent: "With agent {id}", closed: "Ended; write to begin again", seen: "seen", sending: "sending…",
    agents_desk: "Agents' desk", agent: "Agent", staff_token: "Staff token (where asked for)", log_in: "Log in", log_out: "Log out",
    online: "Online", away: "Away", offline: "Offline", connected: "connected", connecting: "connecting…",
    accept: "Accept", decline: "Decline", offered: "offered", held: "yours", on_hold: "on hold",
    hold: "Hold", resume: "Resume", transfer: "Hand on", transfer_anybody: "whom the policy chooses", transfer_agent: "to {name}",
    resolved: "Close, resolved", unresolved: "Close, unresolved", nothing_open: "Choose a conversation on the left",
    waits: "waiting for {s} s", left: "{s} s left", overdue: "overdue", warning: "soon overdue", suggestions: "Knowledge base suggests: {ids}",
    reminder_unread: "unread messages", reminder_unanswered: "unanswered messages", complaint: "Complaint", close_complaint: "Close complaint",
    vip: "VIP", regular: "regular", new: "new",
    late_reply: " (not delivered: too late)", overtaken_reply: " (not delivered: an agent was first)", unconfirmed_reply: " (perhaps not delivered)", pending_reply: " (on its way)",
    no_shops: "No shop is configured yet. Run deskline up first.",
    problem_closed: "The conversation has ended.", problem_not_yours: "It is not yours: accept it first.", problem_too_late: "The offer has run out.",
    problem_no_token: "Wrong token; log in again.", problem_busy: "Busy; try again in a moment.", problem_network: "Connection lost, trying again…", problem_other: "It did not work: {why}",
  },
};

let language = localStorage.getItem("language") === "en" ? "en" : "zh";
const redraws = [];

export function word(name, values = {}) {
  const text = WORDS[language][name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

// Fill in every element that names a word, and call `redraw` now and whenever the language changes.
export function speak(redraw = () => {}) {
  redraws.push(redraw);
  for (const button of document.querySelectorAll("#language, .switch-language")) {
    button.addEventListener("click", () => {
      language = language === "zh" ? "en" : "zh";
      localStorage.setItem("language", language);
      fill();
    });
  }
  fill();
}

function fill() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const button of document.querySelectorAll("#language, .switch-language")) button.textContent = word("other_language");
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = word(element.dataset.placeholder);
  for (const redraw of redraws) redraw();
}
