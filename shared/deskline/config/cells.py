"""Several cells: sets of shops, each with a directory, a topic prefix and a database of its own. What must be in one of them only. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, cast

from deskline.config.base import DEFAULT_SHOP
from deskline.config.documents import AgentsDocument
from deskline.config.loading import Configuration

_MOST_SHOPS: Final = 3


class Shared(NamedTuple):
    """Something that two cells have."""

    what: str
    name: str
    first: str
    """Where it was met first: the cell, and of an agent the shops."""
    second: str

    def __str__(self) -> str:
        if self.what == "shop":
            return f"shop {self.name!r} is in {self.first} and in {self.second}; the gateway sends a shop to one cell"
        return (
            f"agent {self.name!r} works in {self.first} and in {self.second}; an agent has one status and one capacity, which two "
            "routers cannot share: keep him in one cell, or give him an agent_id for each"
        )


def shared_by_cells(cells: Mapping[str, Configuration]) -> list[Shared]:
    """Shops and agents of more than one cell. Cells by the name of their directory."""
    return [*_shops(cells), *_agents(cells)]


def _shops(cells: Mapping[str, Configuration]) -> Iterator[Shared]:
    met: dict[str, str] = {}
    for cell, configuration in cells.items():
        for shop in sorted(configuration.shops):
            if shop == DEFAULT_SHOP:
                continue
            first = met.setdefault(shop, cell)
            if first != cell:
                yield Shared("shop", shop, first, cell)


def _agents(cells: Mapping[str, Configuration]) -> Iterator[Shared]:
    met: dict[str, tuple[str, list[str]]] = {}
    for cell, configuration in cells.items():
        here: dict[str, list[str]] = {}
        for shop, documents in sorted(configuration.shops.items()):
            document = cast("AgentsDocument | None", documents.get("agents"))
            for agent in document.agents if document is not None else ():
                here.setdefault(agent.agent_id, []).append(shop)
        for agent_id, shops in here.items():
            if agent_id in met:
                yield Shared("agent", agent_id, _place(*met[agent_id]), _place(cell, shops))
            else:
                met[agent_id] = (cell, shops)


def _place(cell: str, shops: list[str]) -> str:
    return f"{cell} ({', '.join(shops[:_MOST_SHOPS])}{', …' if len(shops) > _MOST_SHOPS else ''})"
