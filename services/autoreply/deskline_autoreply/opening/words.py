"""What ``deskline shop`` says, in English and Chinese."""

from typing import Any, Final

from deskline_autoreply.opening.plan import Language

_WORDS: Final[dict[str, tuple[str, str]]] = {
    # the four steps
    "step 1": ("Step 1 of 4: hours and promises", "第 1 步（共 4 步）：营业时间与售后承诺"),
    "step 2": ("Step 2 of 4: agents", "第 2 步（共 4 步）：客服"),
    "step 3": ("Step 3 of 4: templates", "第 3 步（共 4 步）：话术模板"),
    "step 4": ("Step 4 of 4: trial run", "第 4 步（共 4 步）：试运行"),
    "timezone": ("Time zone", "时区"),
    "daily": ("Open every day from-to", "每天营业时间（起-止）"),
    "public_holidays": ("Closed on China's public holidays?", "按国家法定节假日休息吗？"),
    "agent_response_s": ("A person answers within how many seconds?", "人工在多少秒内回复？"),
    "complaint_hours": ("Complaints are closed within how many hours?", "投诉在多少小时内办结？"),
    "returns_days": ("Returns are taken for how many days?", "支持几天无理由退换？"),
    "refund_hours": ("Money is back within how many hours?", "退货后多少小时内退款？"),
    "dispatch_hours": ("Orders leave within how many hours?", "下单后多少小时内发货？"),
    "agent": (
        "Agent, as ID:NAME:CAPACITY:SKILL,SKILL:GRADE (empty: no more)",
        "客服，格式 工号:姓名:同时接待数:技能,技能:等级（留空结束）",
    ),
    "template greeting ask": ("Welcome", "欢迎语"),
    "template off_hours ask": ("Outside hours", "非营业时间"),
    "template after_sales ask": ("After-sales promise", "售后承诺"),
    "trial hours": ("Trial run for how many hours?", "试运行多少小时？"),
    "trial then": ("Afterwards: off (people go on answering) or live", "结束后：off（仍由人工回复）或 live（正式上线）"),
    "overwrite": ("{files} exist already. Write over them?", "{files} 已存在，要覆盖吗？"),
    "kept": ("nothing was written", "未写入任何文件"),
    "written": ("written: {files}", "已写入：{files}"),
    "default": ("{directory}/_default was missing: the shipped one was put there", "{directory}/_default 不存在，已放入自带的默认配置"),
    "next": ("Next:", "接下来："),
    "next apply": ("  put it in force; nothing is sent yet, the shop is in shadow", "  生效配置；此时处于影子状态，不会发送任何自动回复"),
    "next trial": ("  begin the trial run", "  开始试运行"),
    "next load": ("  try the load, on a stack of its own", "  压力测试，请在单独的环境上进行"),
    "next check": ("  what is missing before it goes live", "  上线检查：还缺什么"),
    # the check
    "ready": ("shop {shop} may go live", "店铺 {shop} 可以上线"),
    "not ready": ("shop {shop} lacks {missing} of {all}", "店铺 {shop} 还缺 {missing} 项（共 {all} 项）"),
    "template greeting": ("welcome: rule {rule}", "欢迎语：规则 {rule}"),
    "template off_hours": ("outside hours: rule {rule}", "非营业时间话术：规则 {rule}"),
    "template after_sales": ("after-sales promise: {rule}", "售后承诺：{rule}"),
    "no template greeting": (
        "no welcome: add a rule whose reply has kind: greeting to rules.yaml",
        "缺欢迎语：请在 rules.yaml 中加一条 kind: greeting 的回复",
    ),
    "no template off_hours": (
        "nothing is said outside hours: add a rule with when: {{open: false}} to rules.yaml",
        "缺非营业时间话术：请在 rules.yaml 中加一条 when: {{open: false}} 的规则",
    ),
    "no template after_sales": (
        "no after-sales promise: add a rule or an entry about returns and refunds",
        "缺售后承诺：请加一条关于退换货、退款的规则或知识条目",
    ),
    "staffed": (
        "{people} people for {at_once} customers at a time (1:{ratio}, {needed} needed)",
        "{people} 名客服，预计同时 {at_once} 位顾客（1:{ratio}，需 {needed} 名）",
    ),
    "too few": (
        "{people} people for {at_once} customers at a time: {more} more are needed (1:{ratio}, never fewer than two)",
        "{people} 名客服，预计同时 {at_once} 位顾客：还需 {more} 名（1:{ratio}，至少 2 名）",
    ),
    "words tried": (
        "sensitive words: {tried} tried, all found; the shop's own replies pass",
        "敏感词：试了 {tried} 个，全部识别；店铺话术均可发出",
    ),
    "words off": (
        "sensitive words are switched off: remove enabled: false from sensitive.yaml",
        "敏感词过滤已关闭：请去掉 sensitive.yaml 中的 enabled: false",
    ),
    "no words": (
        "there are no sensitive words: switch the shipped list on (shipped: true), or give words",
        "没有任何敏感词：请启用自带词库（shipped: true）或自行添加",
    ),
    "words missed": (
        "sensitive words: {missed} of {tried} are not found in a sentence; see deskline rules try",
        "敏感词：{tried} 个中有 {missed} 个在句子里未被识别；请用 deskline rules try 检查",
    ),
    "words hold replies": (
        "sensitive words hold back the shop's own replies: {rules}; change their texts, or allow the words",
        "敏感词拦截了店铺自己的话术：{rules}；请修改文字或在 allow 中放行",
    ),
    "load tried": (
        "load: {conversations} conversations in a minute, {messages} messages, all decided, p99 {p99_s:.2f} s",
        "压力：一分钟 {conversations} 个会话、{messages} 条消息，全部处理，p99 {p99_s:.2f} 秒",
    ),
    "no load": (
        "load has not been tried: deskline shop load, for {at_once} conversations, on a stack of its own; name it with --rehearsal-dir",
        "未做压力测试：请在单独的环境上运行 deskline shop load（{at_once} 个会话），并用 --rehearsal-dir 指明",
    ),
    "load not known": (
        "load: nobody knows; give --rehearsal-dir (or --state-dir, --postgres-dsn)",
        "压力测试：未知；请给出 --rehearsal-dir（或 --state-dir、--postgres-dsn）",
    ),
    "load too small": (
        "load: {conversations} conversations in the busiest minute; {at_once} are expected",
        "压力：最忙一分钟 {conversations} 个会话，预计为 {at_once} 个",
    ),
    "load too slow": (
        "load: of {messages} messages {without_outcome} had no outcome, p99 {p99_s:.2f} s; at most {patience_s:g} s",
        "压力：{messages} 条消息中 {without_outcome} 条没有结果，p99 {p99_s:.2f} 秒（上限 {patience_s:g} 秒）",
    ),
    "trial passed": (
        "trial: {hours:.0f} h, {messages} messages decided, {answered} answers",
        "试运行：{hours:.0f} 小时，处理 {messages} 条消息，{answered} 条可自动回复",
    ),
    "no trial": ("no trial run of {hours} h: deskline trial start", "未做 {hours} 小时试运行：deskline trial start"),
    "trial not known": (
        "trial run: nobody knows; give --state-dir or --postgres-dsn",
        "试运行：未知；请给出 --state-dir 或 --postgres-dsn",
    ),
    "trial running": ("the trial runs; {left:.1f} h are left", "试运行进行中，还剩 {left:.1f} 小时"),
    "trial short": ("the trial lasted {hours:.1f} h; {needed} h are needed", "试运行只进行了 {hours:.1f} 小时，需要 {needed} 小时"),
    "trial without messages": (
        "in the trial no message came; is the gateway connected, and the shop's id right?",
        "试运行期间没有任何消息：网关接好了吗？店铺 ID 对吗？",
    ),
    "trial slow": (
        "in the trial one answer in ten took longer than 30 s ({p90_s:.1f} s)",
        "试运行中每十条有一条处理超过 30 秒（{p90_s:.1f} 秒）",
    ),
}  # fmt: skip


def say(language: Language, key: str, **values: Any) -> str:
    return _WORDS[key][language == "zh"].format(**values)
