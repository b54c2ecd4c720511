"""What a stack checks before it starts anything: the addresses that it was given, and none that it has yet to make."""

import pytest

from deskline.errors import UsageError
from deskline.stack.stack import Options, Stack


def test_servers_of_its_own_need_no_address_before_they_are_started(tmp_path):
    assert Stack(Options(state_dir=tmp_path)).settings().topic_prefix == ""


def test_an_address_that_is_none_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(UsageError, match="--postgres-dsn"):
        Stack(Options(state_dir=tmp_path, postgres_dsn="nonsense")).settings()
