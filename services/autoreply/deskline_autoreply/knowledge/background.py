"""What customers ask beside what a small knowledge base knows.

A runner-up tells whether a question is about the winner; a base of one entry has none, and to it "how" is as rare a word as
"invoice". So a small base is looked at together with these questions of ordinary talk. Where one of them comes nearest, nothing is said.
They are never shown. Worded by ourselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deskline_autoreply.knowledge.vectors import Encoder

SMALL: Final = 12
"""Entries: a base of more has runners-up of its own."""
# A question of these that is so near to a phrasing of the shop's own is one that the shop answers.
_THE_SAME: Final = 0.55

_TEXTS: Final = (
    "怎么退货", "可以换货吗", "什么时候发货", "快递到哪里了", "发什么快递", "多久能到", "怎么付款", "可以分期吗", "能便宜点吗", "有优惠券吗",
    "怎么领优惠券", "怎么修改地址", "怎么取消订单", "怎么开发票", "退款多久到账", "运费多少钱", "这个多少钱", "还有货吗", "什么时候补货", "有没有别的颜色",
    "尺码怎么选", "是什么材质的", "质量怎么样", "是正品吗", "保修多久", "怎么使用", "怎么安装", "坏了怎么办", "可以维修吗", "少发了一件怎么办",
    "收到的东西不对", "怎么联系客服", "你们几点下班", "你们在哪里", "附近有门店吗", "怎么注册账号", "忘记密码怎么办", "怎么绑定手机", "怎么成为会员", "积分怎么用",
    "可以送货上门吗", "周末送货吗", "能开店加盟吗", "在哪里可以看到", "我的订单怎么了", "为什么还没有回复", "可以帮我查一下吗", "你是机器人吗", "今天天气怎么样", "这是什么意思",
    "有人在吗", "前面还有几个人排队", "需要等多久", "可以打电话给我吗", "怎么评价", "怎么投诉", "能用吗", "在哪里下载", "孩子可以用吗", "可以送人吗",
    "how do i return it", "can i exchange it", "when will it ship", "where is my order", "how long does delivery take", "how can i pay",
    "is there a discount", "how do i change my address", "how do i cancel my order", "can i get an invoice", "when do i get my refund",
    "how much is shipping", "how much does it cost", "is it in stock", "which size should i take", "what is it made of", "is it any good",
    "how long is the warranty", "how does it work", "it is broken what can i do", "an item is missing", "how can i reach you",
    "when do you open", "where is your shop", "how do i open an account", "i forgot my password", "how do i become a member",
    "can you help me", "are you a robot", "what does that mean", "what is the weather like", "can you call me", "how do i complain",
    "why is it not working", "where can i find it", "is it safe", "can i pick it up", "do you have other colours", "who are you", "what time is it",
)  # fmt: skip


def background(phrasings: Sequence[Sequence[str]], encoder: Encoder) -> list[tuple[str]]:
    """Entries of one phrasing each, to stand behind the base's own; none where the base is not small."""
    if not 0 < len(phrasings) <= SMALL:
        return []
    own = encoder.phrasings([text for texts in phrasings for text in texts])
    near = np.max(encoder.phrasings(_TEXTS) @ own.T, axis=1)
    return [(text,) for text, cosine in zip(_TEXTS, near, strict=True) if cosine < _THE_SAME]
