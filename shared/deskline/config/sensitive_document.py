"""Words that are flagged, masked or blocked. A part of the document ``rules``; usually in ``sensitive.yaml``."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from deskline.config.base import Document, Name, problem_at
from deskline.config.sensitive_list import shipped
from deskline.folding import deep_text

PersonalKind = Literal["phone", "identity_card", "bank_card", "address", "email"]

_Word = Annotated[str, Field(min_length=1, max_length=128)]
_Words = Annotated[tuple[_Word, ...], Field(max_length=100_000)]
# Lists that travel on events hold 64 entries at most (contract §1), and the shipped categories are among them.
_MOST_CATEGORIES: Final = 40


class Category(Document):
    """What becomes of a text that has a word of this category. It is flagged in any case."""

    inbound: Literal["none", "mask"] = "mask"
    """What customers write. Mask: ``masked_text`` is what screens should show."""
    outbound: Literal["none", "mask", "block"] = "block"
    """Automatic replies before they leave; agents' messages after."""
    handover: bool = False
    """True: the customer's message is handed over to a person (reason ``sensitive``)."""
    flags: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Raised on the hand-over of a customer's message, whatever the reason of that is."""


SHIPPED_CATEGORIES: Final[dict[str, Category]] = {
    "abuse": Category(flags=("abusive",)),
    "pornography": Category(),
    "gambling": Category(),
    "drugs": Category(flags=("illegal",)),
    "weapons": Category(flags=("illegal",)),
    "violence": Category(handover=True, flags=("threat",)),
    "self_harm": Category(inbound="none", handover=True, flags=("self_harm",)),
    "fraud": Category(flags=("fraud",)),
    "illegal_goods": Category(flags=("illegal",)),
    "diversion": Category(inbound="none", flags=("off_platform",)),
    "politics": Category(),
}
"""How the shipped list's categories are handled where a shop says nothing else."""


class Evasions(Document):
    """Disguises that are seen through, beyond what the fold takes off every text."""

    repeats: bool = True
    """"fuuuck": a letter may be repeated."""
    homophones: bool = True
    """Chinese words of three and more characters are found by their sound as well (pinyin without tones)."""
    lookalikes: bool = True
    """Greek and Cyrillic letters that look Latin."""
    chinese_digits: bool = False
    """一 and 1 are the same."""


class Contacts(Document):
    """Ways to reach somebody elsewhere. Found in any text; the category is ``contact``."""

    email: bool = False
    url: bool = False
    ipv4: bool = False
    min_digits: Annotated[int, Field(ge=4, le=64)] | None = None
    """Numbers of at least this many digits."""
    allowed_domains: tuple[Name, ...] = ()
    """These, and what is below them, are no finding: the shop's own."""
    handling: Category = Category(inbound="none", outbound="mask")


class PersonalData(Document):
    """What identifies a person, masked on screens; a finding has the category ``personal_data``."""

    inbound: tuple[PersonalKind, ...] = ()
    outbound: tuple[PersonalKind, ...] = ()


class Sensitive(Document):
    """Words that are flagged, masked or blocked."""

    enabled: bool = True
    shipped: bool = True
    """True: the list that comes with deskline counts too."""
    categories: dict[Name, Category] = Field(default_factory=dict, max_length=_MOST_CATEGORIES)
    """Overrides how a category is handled; one that only has words here is handled as by default."""
    words: dict[Name, _Words] = Field(default_factory=dict, max_length=_MOST_CATEGORIES)
    """Category → words, beside the shipped ones."""
    remove: _Words = ()
    """Words taken off the shipped list."""
    allow: _Words = ()
    """A longer word that frees what lies inside it; the word itself frees it everywhere."""
    single_characters: bool = False
    """True: words of one Chinese character are meant. Without it they are refused: a slip that would mask every 的."""
    whole_numbers: bool = True
    """False: a number in the list is found inside longer numbers too. Latin words are always whole."""
    overlaps: Literal["all", "leftmost"] = "all"
    """Hits that overlap: all of them, or only the one that begins first."""
    mask: Annotated[str, Field(min_length=1, max_length=1)] = "*"
    replacements: dict[_Word, Annotated[str, Field(max_length=128)]] = Field(default_factory=dict)
    """Word → what stands for it in the masked text, instead of one ``mask`` per character."""
    evasions: Evasions = Evasions()
    contacts: Contacts = Contacts()
    personal_data: PersonalData = PersonalData()

    @model_validator(mode="after")
    def _words_say_something(self) -> Self:
        listed = [(("words", category), words) for category, words in self.words.items()]
        for at, words in [*listed, (("allow",), self.allow)]:
            for index, word in enumerate(words):
                folded = deep_text(word)
                if not folded:
                    raise problem_at(f"{word!r} shows nothing that is compared; remove it", *at, index)
                if at[0] == "words" and len(folded) == 1 and not folded.isascii() and not self.single_characters:
                    raise problem_at(
                        f"{word!r} is a single character and would be found everywhere; "
                        "write a longer word, or set single_characters to true",
                        *at,
                        index,
                    )
        if not deep_text(self.mask) and not self.mask.isprintable():
            raise problem_at("the mask must be a character that shows", "mask")
        return self

    @model_validator(mode="after")
    def _categories_have_words(self) -> Self:
        known = {*self.words, *(SHIPPED_CATEGORIES if self.shipped else ())}
        for name in self.categories:
            if name not in known:
                raise problem_at(f"category {name!r} has no words; give it some in words", "categories", name)
        return self

    @model_validator(mode="after")
    def _removed_are_shipped(self) -> Self:
        listed = {deep_text(row.word) for row in shipped()} if self.remove else set()
        for index, word in enumerate(self.remove):
            if deep_text(word) not in listed:
                raise problem_at(f"{word!r} is not on the shipped list", "remove", index)
        return self

    def handling(self, category: str) -> Category:
        return self.categories.get(category) or SHIPPED_CATEGORIES.get(category) or Category()
