"""Tokens with roles, and how often each may ask."""

import pytest

from deskline.access import Holder, NoTokenError, Rates, Tokens, give, sent
from deskline.errors import UsageError

ROLES = ("reader", "supervisor")


def test_a_token_is_known_by_its_hash_alone_until_it_is_taken_away(tmp_path):
    file = tmp_path / "tokens"
    tokens = Tokens(file, ROLES)
    assert not tokens.on
    token = give(file, "li.lei", "supervisor")
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert tokens.holder(token.encode()) == Holder("li.lei", "supervisor")
    assert tokens.holder(b"another") is None
    other = give(file, "han", "reader")
    assert tokens.holder(other.encode()) == Holder("han", "reader")
    file.write_text(file.read_text().splitlines()[1] + "\n")
    assert tokens.holder(token.encode()) is None
    file.unlink()
    assert tokens.holder(other.encode()) is None


def test_lines_of_no_role_that_there_is_count_for_nothing(tmp_path):
    file = tmp_path / "tokens"
    token = give(file, "li.lei", "owner")
    assert Tokens(file, ROLES).holder(token.encode()) is None
    with pytest.raises(UsageError):
        give(file, "li lei", "reader")


@pytest.mark.parametrize(
    "headers",
    [[], [(b"authorization", b"Bearer ")], [(b"authorization", b"Basic x")], [(b"authorization", b"Bearer a")] * 2],
)
def test_a_request_shows_exactly_one_bearer_token(headers):
    assert sent([(b"Authorization", b"bearer  hush ")]) == b"hush"
    with pytest.raises(NoTokenError):
        sent(headers)


def test_each_has_his_own_pace_and_a_burst():
    rates = Rates(2.0, 4)
    assert [rates.wait_s("a", 100.0) for _ in range(4)] == [0.0] * 4
    assert rates.wait_s("a", 100.0) == 0.5
    assert rates.wait_s("b", 100.0) == 0.0
    assert rates.wait_s("a", 100.25) == 0.25
    assert rates.wait_s("a", 100.5) == 0.0
    assert rates.wait_s("a", 100.5) > 0
    assert [rates.wait_s("a", 1000.0) for _ in range(5)][3:] == [0.0, 0.5]
