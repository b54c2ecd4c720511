"""What customers and agents of a shop say. Written for these tests; no line is anybody's real message.

With ``DESKLINE_DATA`` set to a folder that holds ``jddc/chat.tsv.gz`` (columns: session, user, is_agent, is_transfer,
is_repeat, sku, text) the customers' lines come from there too.
"""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

GREETINGS = """
在吗|你好|您好,有人吗|亲在不在|客服在吗|hi|哈喽|早上好|晚上好,还有人吗|请问一下|老板在吗|有客服吗
""".strip().split("|")

QUESTIONS = (
    """
什么时候发货|今天下单明天能发吗|怎么还不发货,都三天了|发什么快递|能发顺丰吗|可以改地址吗|我地址填错了,帮我改一下
到哪里了,物流一直不动|快递显示签收了,可是我没收到|包裹破了怎么办|能不能送货上门|运费谁出|包邮吗|偏远地区要加钱吗
这个有货吗|黑色什么时候补货|有没有大一码的|尺码偏大还是偏小|身高165体重55穿什么码|会不会起球|掉色吗|是纯棉的吗
可以机洗吗|有实物图吗|颜色和图片一样吗|保质期到什么时候|是正品吗|有发票吗|可以开专票吗|发票抬头写错了能重开吗
有优惠券吗|满减怎么用|为什么优惠券用不了|双十一还会便宜吗|能不能再便宜点|买两件打折吗|有赠品吗|会员有什么优惠
怎么退货|七天无理由可以退吗|退款什么时候到账|退款怎么还没到|退货地址发我一下|退货要自己出运费吗|运费险怎么用
换货怎么操作|换个颜色可以吗|少发了一件|发错颜色了|收到的是坏的|用了两天就坏了|质量太差了|和描述不符
怎么保修|保修多久|配件可以单独买吗|说明书丢了,能发一份吗|怎么安装|蓝牙连不上|充不进电|开不了机|屏幕有划痕
订单能取消吗|取消了为什么还发货|付款失败了|可以货到付款吗|花呗能分期吗|分期免息吗|支付了两次,钱会退吗
积分怎么查|积分可以抵钱吗|怎么成为会员|生日有礼物吗|可以加急吗|能指定送达时间吗|能放驿站吗|周末送货吗
可以批发吗|企业采购有折扣吗|能印logo吗|有小程序吗|门店在哪里|可以到店自提吗|支持七天价保吗|刚买就降价了,补差价吗
""".strip()
    .replace("\n", "|")
    .split("|")
)

ASK_FOR_HUMAN = """
人工|转人工|我要人工客服|能不能找个真人|机器人听不懂,换人工|叫你们客服来|不要机器人|人工服务
""".strip().split("|")

COMPLAINTS = """
我要投诉|投诉你们,态度太差|再不处理我就打12315|我要曝光你们|让你们经理来|你们这是欺骗消费者|给个说法,不然投诉
""".strip().split("|")

SMALL_TALK = """
好的|谢谢|嗯嗯|知道了|收到|没事了|哦|好吧|那我等等|麻烦快点|还在吗|?|怎么不回|人呢|1|[图片]|👍|哈哈
""".strip().split("|")

AGENT_LINES = (
    """
您好,请问有什么可以帮您|稍等,我帮您查一下|您的订单今天发出|已经帮您登记了|这款目前有货的|建议您拍大一码|退款会在三个工作日内到账
不好意思让您久等了|我帮您申请补发|运费险会自动理赔|麻烦提供一下订单号|已经为您转接专员|感谢您的理解|还有其他可以帮您的吗|祝您购物愉快
""".strip()
    .replace("\n", "|")
    .split("|")
)

EMPTY = ("", " ", "\u3000", "\u200b", "\0")
"""No visible character."""
ODD = ("退\0款", "é\u0301", "𝕬𝖇𝖈 退款", "مرحبا", "🙂" * 40, "退" * 2_000, "RTL \u202e退款", "a\tb\r\nc")


class Corpus:
    """``lines`` of customers beside those written here; drawing is by the caller's ``random.Random``."""

    def __init__(self, lines: list[str] | None = None) -> None:
        self.questions = [*QUESTIONS, *(lines or [])]

    @classmethod
    def from_environment(cls, limit: int = 20_000) -> Corpus:
        """With the customers' lines of ``DESKLINE_DATA``, where that is set and has them."""
        folder = os.environ.get("DESKLINE_DATA")
        path = Path(folder) / "jddc" / "chat.tsv.gz" if folder else None
        return cls(_customers(path, limit) if path is not None and path.exists() else None)

    def customer(self, chance: random.Random) -> str:
        draw = chance.random()
        if draw < 0.12:
            return chance.choice(GREETINGS)
        if draw < 0.72:
            return chance.choice(self.questions)
        if draw < 0.82:
            return chance.choice(ASK_FOR_HUMAN)
        if draw < 0.86:
            return chance.choice(COMPLAINTS)
        if draw < 0.96:
            return chance.choice(SMALL_TALK)
        return chance.choice(EMPTY if draw < 0.98 else ODD)

    def agent(self, chance: random.Random) -> str:
        return chance.choice(AGENT_LINES)


def _customers(path: Path, limit: int) -> list[str]:
    found: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            columns = line.rstrip("\n").split("\t")
            if len(columns) == 7 and columns[2] == "0" and columns[6]:
                found.append(columns[6][:2000])
            if len(found) >= limit:
                break
    return found
