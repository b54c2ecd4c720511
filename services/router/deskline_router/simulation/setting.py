"""What a simulation runs on: a directory of configuration, a team, arrivals. Reads files; nothing else."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, cast

import yaml
from pydantic import ValidationError

from deskline.config.base import DEFAULT_SHOP
from deskline.config.book import ConfigBook
from deskline.config.documents import Agent, AgentsDocument
from deskline.config.loading import load_directory
from deskline.errors import UsageError
from deskline_router.catalog import BookCatalog
from deskline_router.policy.people import qualified

BANK_CALLS: Final = "bank_calls"
_WHERE: Final = Path("bank_calls") / "bank_calls.csv.gz"


class Setting(NamedTuple):
    catalog: BookCatalog
    team: Mapping[str, Agent]
    """With what certificates and training give."""
    shop_id: str


def setting(directory: Path, shop_id: str, agents: str | None = None) -> Setting:
    """``agents``: None: the shop's own; a number: so many, like the shop's own in turn; a file: another ``agents.yaml``.

    Raises ``UsageError``.
    """
    shops = load_directory(directory).shops
    if shop_id not in shops:
        raise UsageError(f"{directory} has no shop {shop_id!r}; there are {', '.join(sorted(shops))}")
    own = cast("AgentsDocument", shops[shop_id].get("agents") or shops[DEFAULT_SHOP]["agents"])
    document = team_of(own, agents)
    if not document.agents:
        raise UsageError(f"shop {shop_id} has no agents; name a file of them with --agents")
    book = ConfigBook()
    for shop, documents in shops.items():
        for kind, one in documents.items():
            # Of another shop's agents nobody is simulated; one of them may not be two people.
            if kind != "agents":
                book.install(shop, kind, one)
    book.install(DEFAULT_SHOP, "agents", document if shop_id == DEFAULT_SHOP else AgentsDocument())
    if shop_id != DEFAULT_SHOP:
        book.install(shop_id, "agents", document)
    rules = document.qualifications or ()
    team = {agent.agent_id: qualified(agent, rules) for agent in document.agents}
    return Setting(BookCatalog(book), team, shop_id)


def team_of(own: AgentsDocument, stated: str | None) -> AgentsDocument:
    if stated is None:
        return own
    if stated.isdecimal():
        number = int(stated)
        if not own.agents or not 0 < number <= 100_000:
            raise UsageError(f"--agents {stated}: from 1 to 100000, and the shop needs one agent that they are like")
        many = (own.agents[n % len(own.agents)] for n in range(number))
        named = tuple(
            agent
            if n < len(own.agents)
            else agent.model_copy(update={"agent_id": f"{agent.agent_id}-{n // len(own.agents) + 1}"})
            for n, agent in enumerate(many)
        )
        return own.model_copy(update={"agents": named})
    path = Path(stated)
    try:
        return AgentsDocument.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--agents {path}: {error}; write a number, or a file like agents.yaml") from None
    except ValidationError as error:
        raise UsageError(f"--agents {path}: {error.errors()[0]['msg']}") from None


def skills_of(team: Mapping[str, Agent]) -> Sequence[str]:
    """Those that two agents or more have: of others nobody would ask a team this size."""
    counted = Counter(skill for agent in team.values() for skill in agent.skills)
    return sorted(skill for skill, count in counted.items() if count > 1) or sorted(counted)


def arrivals_path(stated: str) -> Path:
    """A file, or ``bank_calls`` where the data sets are: below ``DESKLINE_DATA``, else ``../shared/data``."""
    if stated != BANK_CALLS:
        return Path(stated)
    named = os.environ.get("DESKLINE_DATA")
    roots = (
        [Path(named)]
        if named
        else [Path.cwd() / ".." / "shared" / "data", Path(__file__).parents[5] / "shared" / "data"]
    )
    for root in roots:
        if (root / _WHERE).is_file():
            return root / _WHERE
    raise UsageError(
        f"bank_calls does not come with deskline (its licence is the GPL): name the folder that holds {_WHERE} with DESKLINE_DATA, or give a file of the same shape"
    )
