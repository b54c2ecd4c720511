"""The list of sensitive words that ships: curated for shops, so that ordinary talk about goods, bills and parcels passes.

``words.tsv`` has one word a line: category, word, source. Words that a public list has too name it; their licences are
beside it (``LICENSES.txt``). What was left out, and why, is told in docs/sensitive-words.md.
"""

from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

ALLOWED: Final = (
    "他妈妈的", "你妈妈的", "我操作", "做爱心", "做爱国", "做爱好", "做爱吃", "自慰问", "贱人工", "贱货架", "网赌气",
    "网赌上", "畜生产", "食食材", "轻食食材", "假币别", "假币种", "删差评语", "赌场地", "赌钱币", "抽大麻将", "吸大麻花",
    "大麻烟台", "易制毒", "跳楼价", "放狗屁股", "死你全家桶", "地铁口交易", "三黄片", "代开发票夹", "百家乐园",
)  # fmt: skip
"""Longer words that free what lies inside them: first of all those that ordinary words make where they meet."""


class Listed(NamedTuple):
    category: str
    word: str
    source: str


@cache
def shipped() -> tuple[Listed, ...]:
    """Read once, from the package."""
    rows = files(__package__).joinpath("words.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return tuple(Listed(*row.split("\t")) for row in rows)
