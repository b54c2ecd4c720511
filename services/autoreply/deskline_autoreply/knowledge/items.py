"""Products, promotions and opening hours: structured items, answered by field. Pure; no score: a name and a field are named, or not.

"羊毛衫多少钱" names a product and a field. "有货吗" alone names a field: then the product is the one that came with the message, or the one that the
conversation was about a few minutes ago.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from deskline.folding import deep_text
from deskline_autoreply.policy.rules.finding import finder

if TYPE_CHECKING:
    from deskline.config.knowledge_document import Knowledge, Product, Promotion

_FIELDS: Final = {
    "price": (
        "多少钱|价格|价钱|什么价|几块|几元|怎么卖|售价|报价|贵吗|贵不贵|howmuch|price|cost",
        "{name}的价格是 {value}。",
        "{name}: the price is {value}.",
    ),
    "stock": (
        "有货|现货|库存|还有吗|缺货|断货|补货|能买到|有没有货|卖完|instock|stock|available|availability|soldout",
        "{name}{value}。",
        "{name}: {value}.",
    ),
    "sizes": (
        r"尺码|尺寸|码数|多大码|什么码|哪个码|穿多大|大小|[smlx]+码|\d+码|\d+号|偏大|偏小|size|sizing|fit",
        "{name}的尺码：{value}",
        "{name}: sizes {value}",
    ),
    "opening_hours": (
        (
            "几点开门|几点关门|几点营业|营业时间|开门时间|几点下班|几点上班|什么时候开门|openinghours|whendoyouopen|whendoyouclose"
            "|whattimedoyou|businesshours|whatareyourhours"
        ),
        "{name}营业时间：{value}",
        "{name}opening hours: {value}",
    ),
}
_PATTERNS: Final = {field: re.compile(words) for field, (words, _, _) in _FIELDS.items()}
_CHINESE: Final = re.compile(r"[\u3400-\u9fff]")
# Whoever asks for something else as well, or doubts, wants more than a field.
_LONG: Final = 40
# With a product in mind a short message of nothing but a field goes on about it; in a longer one another thing may be meant.
_FOLLOW_UP: Final = 16
_COMPARES: Final = re.compile(
    "便宜点|优惠点|降价|差价|退差|保价|区别|对比|哪个好|为什么|怎么这么|投诉|cheaper|compare|difference|why"
)


class Found(NamedTuple):
    entry_id: str
    text: str
    kind: str
    item: str
    """What the conversation is about now; empty: the shop as a whole."""


class Items:
    def __init__(self, document: Knowledge) -> None:
        self._hours = document.opening_hours
        self._products = {product.product_id: product for product in document.products}
        self._promotions = document.promotions
        named = [(deep_text(name), product) for product in document.products for name in product.names]
        self._names: dict[str, list[Product]] = {}
        for name, product in named:
            if name:
                self._names.setdefault(name, []).append(product)
        self._name_list = tuple(sorted(self._names, key=lambda name: (-len(name), name)))
        self._find = finder(self._name_list)
        promoted = [(deep_text(name), one) for one in document.promotions for name in one.names]
        self._promoted = sorted(((name, one) for name, one in promoted if name), key=lambda pair: -len(pair[0]))

    def find(self, folded: str, at: int, *, product_id: str | None, in_mind: str) -> Found | None:
        """``folded``: deeply. ``product_id``: of the message; ``in_mind``: of what was talked about just now."""
        if not folded or len(folded) > _LONG or _COMPARES.search(folded):
            return None
        zh = _CHINESE.search(folded) is not None
        name, named = self._named(folded, at)
        product = named
        if product is None:
            product = self._valid(product_id, at) or (self._valid(in_mind, at) if len(folded) <= _FOLLOW_UP else None)
        rest = folded.replace(name, "") if name else folded
        if product is not None:
            found = self._field(product, rest, zh=zh)
            if found is not None:
                return found
        if named is None:
            promotion = self._promotion(folded, at)
            if promotion is not None:
                return Found(promotion.promotion_id, promotion.text, "promotion", promotion.promotion_id)
        if named is None and self._hours is not None and _PATTERNS["opening_hours"].search(folded):
            return Found("opening_hours", _say("opening_hours", "", self._hours, zh=zh), "faq", "")
        return None

    def item_of(self, folded: str, at: int, product_id: str | None) -> str:
        """What a message is about, whatever becomes of it; empty: no product."""
        _, named = self._named(folded, at)
        product = named or self._valid(product_id, at)
        return product.product_id if product is not None else ""

    def _named(self, folded: str, at: int) -> tuple[str, Product | None]:
        found = [self._name_list[number] for number in sorted(self._find(folded))]
        hits = [(name, product) for name in found for product in self._names[name] if product.is_valid(at)]
        if not hits:
            return "", None
        name, product = hits[0]
        # Two products of one name, or of names that are no part of each other: which one is meant is for people to find out.
        if any(other is not product and (text == name or text not in name) for text, other in hits[1:]):
            return "", None
        return name, product

    def _valid(self, product_id: str | None, at: int) -> Product | None:
        product = self._products.get(product_id or "")
        return product if product is not None and product.is_valid(at) else None

    def _promotion(self, folded: str, at: int) -> Promotion | None:
        return next((one for name, one in self._promoted if name in folded and one.is_valid(at)), None)

    @staticmethod
    def _field(product: Product, rest: str, *, zh: bool) -> Found | None:
        title = product.names[0]
        asked = [field for field, pattern in _PATTERNS.items() if pattern.search(rest)]
        own = [(name, value) for name, value in product.fields.items() if deep_text(name) and deep_text(name) in rest]
        if len(asked) + len(own) != 1:
            return None  # nothing that we know of, or several things at once
        if own:
            name, value = own[0]
            text = f"{title}的{name}：{value}" if zh else f"{title}, {name}: {value}"
            return Found(product.product_id, text, "faq", product.product_id)
        value = getattr(product, asked[0])
        if value is None:
            return None
        return Found(product.product_id, _say(asked[0], title, value, zh=zh), "faq", product.product_id)


def _say(field: str, name: str, value: str | int, *, zh: bool) -> str:
    if isinstance(value, int):
        value = (
            (f"现在有货，还有 {value} 件" if value else "暂时缺货")
            if zh
            else (f"{value} in stock" if value else "out of stock")
        )
    elif field == "stock" and zh:
        value = f"：{value}"
    _, chinese, english = _FIELDS[field]
    text = (chinese if zh else english).format(name=name, value=value)
    return text[0].upper() + text[1:]
