"""Who may do what at Kafka, made from ``topics.yaml``: only the writer named there may write a topic, only readers read it.

Principals are ``User:deskline-<name>``, the names being those of ``written_by`` and ``read_by`` (services, gateway, config, …), and
``topics`` for the job that makes topics. A service may also use its consumer group, other readers groups whose names begin with
theirs. Kafka itself adds what producers need to be
idempotent to the right to write, and what metadata needs to reading and writing only where ``Describe`` is there, so it is.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from deskline.errors import UsageError
from deskline.kafka import connection_options
from deskline.settings import ServiceSettings
from deskline.topics import Topic

SERVICES: Final = ("archive", "autoreply", "router", "sla")
_TOPICS_JOB: Final = "topics"
# Kafka's protocol: codes of resources, operations, patterns and permissions.
_RESOURCES: Final = {"topic": 2, "group": 3}
_OPERATIONS: Final = {
    "Read": 3, "Write": 4, "Create": 5, "Alter": 7, "Describe": 8, "DescribeConfigs": 10, "AlterConfigs": 11,
}  # fmt: skip
_ANY: Final = 1
_PATTERNS: Final = {"literal": 3, "prefixed": 4}
_ALLOW: Final = 3
# The broker was asked for ACLs and has no authorizer.
_SECURITY_DISABLED: Final = 54


class Acl(NamedTuple):
    """One permission, from any host. ``resource``: topic | group; ``operation`` as Kafka's tools spell it; ``pattern``:
    literal | prefixed.
    """

    principal: str
    resource: str
    name: str
    operation: str
    pattern: str = "literal"

    def command(self, bootstrap_servers: str) -> str:
        """The same as a call of Kafka's own tool."""
        return (
            f"kafka-acls.sh --bootstrap-server {bootstrap_servers} --add --allow-principal {self.principal} "
            f"--operation {self.operation} --{self.resource} '{self.name}' --resource-pattern-type {self.pattern}"
        )


def principal(name: str) -> str:
    """Whom Kafka knows one of ``topics.yaml`` as."""
    return f"User:deskline-{name}"


def wanted(topics: Sequence[Topic], prefix: str) -> tuple[Acl, ...]:
    """Every permission of a deployment, sorted; nobody has another."""
    found: set[Acl] = set()
    for topic in topics:
        name = prefix + topic.name
        rights = {(who, "Write") for who in topic.written_by} | {(who, "Read") for who in topic.read_by}
        rights |= {(who, "Describe") for who, _ in rights}
        rights |= {(_TOPICS_JOB, each) for each in ("Create", "Alter", "Describe", "DescribeConfigs", "AlterConfigs")}
        found |= {Acl(principal(who), "topic", name, operation) for who, operation in rights}
    for who in {name for topic in topics for name in topic.read_by} | set(SERVICES):
        group = (f"{prefix}deskline-{who}", "literal") if who in SERVICES else (f"{prefix}{who}", "prefixed")
        found |= {Acl(principal(who), "group", group[0], operation, group[1]) for operation in ("Read", "Describe")}
    return tuple(sorted(found))


class Outcome(NamedTuple):
    """What ``apply`` has done, or with ``dry_run`` would do."""

    added: tuple[Acl, ...]
    surplus: tuple[Acl, ...]
    """On our topics and groups, and not wanted: for a person to look at. Nothing is taken away."""


async def apply(settings: ServiceSettings, topics: Sequence[Topic], *, dry_run: bool = False) -> Outcome:
    """Give what is missing. ``settings`` name a user who may alter the cluster."""
    target = set(wanted(topics, settings.topic_prefix))
    ours = {(acl.resource, acl.name) for acl in target}
    async with _Admin(settings) as admin:
        there = await admin.existing()
        missing = tuple(sorted(target - there))
        if not dry_run:
            for acl in missing:
                await admin.add(acl)
    return Outcome(missing, tuple(sorted(acl for acl in there - target if (acl.resource, acl.name) in ours)))


class _Admin:
    """The two requests, which aiokafka's admin client has no calls for."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._client = AIOKafkaAdminClient(**connection_options(settings), client_id="deskline-acls")
        self._address = settings.bootstrap_servers

    async def __aenter__(self) -> Self:
        try:
            await self._client.start()
        except (KafkaError, OSError) as error:
            await self._client.close()
            raise UsageError(f"Kafka does not answer at {self._address}: {type(error).__name__}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def existing(self) -> set[Acl]:
        """Those that allow, from any host."""
        answer = await self._client._send_request(  # noqa: SLF001
            DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY)
        )
        _raise_for(answer.error_code, answer.error_message)
        resources = {code: name for name, code in _RESOURCES.items()}
        operations = {code: name for name, code in _OPERATIONS.items()}
        patterns = {code: name for name, code in _PATTERNS.items()}
        return {
            Acl(who, resources[kind], name, operations.get(operation, f"operation {operation}"), patterns[pattern])
            for kind, name, pattern, acls in answer.resources
            if kind in resources and pattern in patterns
            for who, host, operation, permission in acls
            if host == "*" and permission == _ALLOW
        }

    async def add(self, acl: Acl) -> None:
        request = CreateAclsRequest(
            _RESOURCES[acl.resource], acl.name, _PATTERNS[acl.pattern], acl.principal, "*",
            _OPERATIONS[acl.operation], _ALLOW,
        )  # fmt: skip
        answer = await self._client._send_to_controller(request)  # noqa: SLF001
        for error_code, message in answer.creation_responses:
            _raise_for(error_code, message)


def _raise_for(error_code: int, message: str | None) -> None:
    if error_code == _SECURITY_DISABLED:
        raise UsageError("This Kafka has no authorizer: set authorizer.class.name on every broker and controller.")
    if error_code != 0:
        raise UsageError(f"Kafka refuses: {message or for_code(error_code).__name__}")
