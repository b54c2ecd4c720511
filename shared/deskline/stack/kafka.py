"""An embedded Apache Kafka: one KRaft node, or three, each both broker and controller.

State directory: ``cluster.json`` (cluster id and ports, kept over restarts), ``node-<n>/`` with ``data/``,
``server.properties``, ``server.log`` and ``server.pid``. A node is ready when it answers an ApiVersions request with
that request's correlation id: an open port alone may be another program. Topics are never created by use.

Durability is Kafka's own: acknowledged records survive ``kill`` of the process (they are in the page cache), not a
power cut. With three nodes topics are replicated and survive the loss of one.
"""

import base64
import contextlib
import json
import secrets
import signal
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from deskline.errors import UsageError
from deskline.stack import jars
from deskline.stack.files import HOST, free_ports, port_is_free, read_json, tail, write_atomically
from deskline.stack.processes import OwnedProcess, wait_until

Profile = Literal["lean", "bench"]

# A node starts in 3 s on a quiet machine and was seen to need 15 s on one with three jobs per core.
READY_S: Final = 90.0
# A clean stop takes below 1 s; three nodes that hand over leadership to each other take longer.
STOP_S: Final = 20.0
_ENTRY: Final = "kafka.Kafka"
_FORMAT: Final = "kafka.tools.StorageTool"

# Every profile. Sizes: the largest topic takes 5 MiB plus 64 KiB (deskline.topics), so followers fetch more than that.
_COMMON: Final = {
    "auto.create.topics.enable": "false",
    "delete.topic.enable": "true",
    "log.message.timestamp.type": "LogAppendTime",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "replica.fetch.max.bytes": str(8 * 1024 * 1024),
    "group.coordinator.append.linger.ms": "0",
    "file.delete.delay.ms": "1000",
    "num.recovery.threads.per.data.dir": "2",
}
# A broker killed with -9 is taken for alive until its session ends, and its next start waits for that: 1 s instead of
# 9 s brings one node back in 2 s. Three nodes on few cores may miss four heartbeats in a row, so they get 4 s.
_SESSION: Final = {
    1: {"broker.session.timeout.ms": "1000", "broker.heartbeat.interval.ms": "250"},
    3: {"broker.session.timeout.ms": "4000", "broker.heartbeat.interval.ms": "500"},
}
_LEAN: Final = {
    # 128 MB of heap by default: most of the memory saved. Compaction is used by Kafka's own topics alone.
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.io.buffer.size": "65536",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "group.coordinator.threads": "1",
    "metadata.max.idle.interval.ms": "5000",
    "replica.high.watermark.checkpoint.interval.ms": "30000",
}
# C1 alone starts twice as fast and keeps up with tens of thousands of records a second; figures are taken without it, and with the
# collector that Kafka's own start script asks for.
_JVM: Final[dict[Profile, tuple[str, ...]]] = {
    "lean": ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-Xlog:disable"),
    "bench": (
        *("-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"),
        "-Xlog:disable",
    ),
}


@dataclass(frozen=True, slots=True)
class Ports:
    broker: int
    controller: int


class EmbeddedKafka:
    """``nodes`` is 1 or 3 and fixed with the directory's first start. ``port`` is wished for the first broker.

    ``users``: name → password. With any, clients log in by SCRAM and may do what an ACL lets them; the first may do everything.
    ``tls``: (a PEM file with key and certificate for 127.0.0.1, one with the authority's certificate), for clients with users. Both
    are for one node.

    ``dies_with_parent``: nodes end when the thread that started them ends (tests); otherwise they outlive a killed
    supervisor and the next ``start`` takes them over.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: Literal[1, 3] = 1,
        port: int | None = None,
        profile: Profile = "lean",
        users: Mapping[str, str] | None = None,
        tls: tuple[Path, Path] | None = None,
        dies_with_parent: bool = False,
        progress: jars.Progress = lambda _: None,
    ) -> None:
        self.directory = directory.resolve()
        self._nodes = nodes
        self._wished_port = port
        self._profile: Profile = profile
        self._users = dict(users or {})
        self._tls = tls
        if (users and nodes != 1) or (tls and not users):
            raise ValueError("users are for one node, and tls is for users")
        self._death_signal = signal.SIGKILL if dies_with_parent else None
        self._progress = progress
        self._ports: dict[int, Ports] = {}
        self._cluster_id = ""
        self._class_path = ""
        self._java: jars.Java | None = None
        self._running: dict[int, OwnedProcess] = {}

    # --- the whole cluster --------------------------------------------------------------------------------------

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{HOST}:{ports.broker}" for ports in self._ports.values())

    @property
    def nodes(self) -> tuple[int, ...]:
        return tuple(range(1, self._nodes + 1))

    def pids(self) -> list[int]:
        return [process.pid for process in self._running.values() if process.running()]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        self.prepare()
        self.spawn()
        self.wait_ready()
        return self

    def prepare(self) -> None:
        """Fetch the jars, choose ports, write the properties, format the data: slow once, then instant."""
        self._load_cluster()
        for node in self.nodes:
            self._take_over(node)
        if len(self._running) == self._nodes:
            return
        self._java = jars.find_java()
        self._class_path = ":".join(str(path) for path in jars.fetch_jars(self._progress))
        for node in self.nodes:
            if node not in self._running:
                self._prepare_node(node)

    def spawn(self) -> None:
        """Start the nodes that do not run. Returns at once."""
        for node in self.nodes:
            if node not in self._running:
                self._spawn(node)

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Until every node answers and, with several, knows all the others."""
        for node in self.nodes:
            self._wait_ready(node, timeout_s)
        if self._nodes > 1:
            self.wait_brokers(self._nodes, timeout_s)

    def wait_brokers(self, count: int, timeout_s: float = READY_S) -> None:
        """Until every running node sees ``count`` live brokers."""
        ports = [self._ports[node].broker for node in self.nodes if self._alive(node)]
        if not wait_until(lambda: all(_broker_count(port) == count for port in ports), timeout_s):
            raise UsageError(f"Kafka did not come to {count} brokers within {timeout_s:.0f} s; see {self.directory}")

    def stop(self) -> None:
        """Stop all nodes cleanly: together, for the last of a quorum cannot finish alone."""
        for process in self._running.values():
            process.signal(signal.SIGTERM)
        for process in self._running.values():
            process.stop(patience_s=STOP_S)
        self._running.clear()

    def leftovers(self) -> bool:
        """Find what an earlier run left running, so that ``stop`` ends it. True when there is something."""
        self._load_cluster(create=False)
        for node in self.nodes:
            self._take_over(node, must_answer=False)
        return bool(self._running)

    # --- one node -----------------------------------------------------------------------------------------------

    def start_node(self, node: int) -> None:
        self._prepare_node(node)
        self._spawn(node)
        self._wait_ready(node, READY_S)

    def stop_node(self, node: int) -> None:
        process = self._running.pop(node, None)
        if process is not None:
            process.stop(patience_s=STOP_S)

    def kill_node(self, node: int) -> None:
        """SIGKILL, as when the machine's memory runs out."""
        process = self._running.pop(node, None)
        if process is not None:
            process.kill()

    def restart_node(self, node: int) -> None:
        self.stop_node(node)
        self.start_node(node)

    def signal_node(self, node: int, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT, for fault tests."""
        self._running[node].signal(number)

    def running(self) -> bool:
        return all(self._alive(node) for node in self.nodes)

    # --- inside -------------------------------------------------------------------------------------------------

    def _folder(self, node: int) -> Path:
        return self.directory / f"node-{node}"

    def _log(self, node: int) -> Path:
        return self._folder(node) / "server.log"

    def _alive(self, node: int) -> bool:
        process = self._running.get(node)
        return process is not None and process.running()

    def _load_cluster(self, *, create: bool = True) -> None:
        file = self.directory / "cluster.json"
        noted: dict[str, Any] | None = read_json(file)
        if noted is None:
            if not create:
                return
            self.directory.mkdir(parents=True, exist_ok=True)
            wished = [] if self._wished_port is None else [self._wished_port]
            free = free_ports(2 * self._nodes - len(wished), avoid=frozenset(wished))
            brokers, controllers = (wished + free)[: self._nodes], (wished + free)[self._nodes :]
            noted = {
                "cluster_id": _new_cluster_id(),
                "ports": [list(pair) for pair in zip(brokers, controllers, strict=True)],
            }
            write_atomically(file, _dump(noted))
        elif create and self._wished_port not in (None, noted["ports"][0][0]):
            noted["ports"][0][0] = self._wished_port
            write_atomically(file, _dump(noted))
        self._cluster_id = noted["cluster_id"]
        self._ports = {node: Ports(*pair) for node, pair in enumerate(noted["ports"], start=1)}
        if create and len(self._ports) != self._nodes:
            raise UsageError(f"{self.directory} holds a Kafka of {len(self._ports)} nodes, not {self._nodes}.")
        self._nodes = len(self._ports)  # type: ignore[assignment]  # 1 or 3, as it was written

    def _take_over(self, node: int, *, must_answer: bool = True) -> None:
        if self._alive(node):
            return
        self._running.pop(node, None)
        left = OwnedProcess.find(self._folder(node) / "server.pid")
        if left is None:
            return
        # A node that does not answer now may be starting or stopping: give it as long as a start may take, once.
        port = self._ports[node].broker
        tls = self._tls is not None
        if must_answer and not wait_until(lambda: answers(port, tls=tls) or not left.running(), READY_S / 3):
            left.stop(patience_s=STOP_S)
        if left.running():
            self._running[node] = left

    def _prepare_node(self, node: int) -> None:
        folder = self._folder(node)
        folder.mkdir(parents=True, exist_ok=True)
        properties = folder / "server.properties"
        write_atomically(properties, render(self._properties(node)))
        meta = folder / "data" / "meta.properties"
        if meta.exists():
            # Kafka itself would go on under that id, and a cluster of several nodes would fall apart.
            if f"cluster.id={self._cluster_id}" not in meta.read_text().splitlines():
                raise UsageError(self._foreign_data(node))
        else:
            self._progress("Kafka: formatting its data folder")
            words = [*self._java_words(("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")), _FORMAT, "format"]
            words += ["-t", self._cluster_id, "-c", str(properties)]
            for name, password in self._users.items():
                words += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=READY_S, check=False)  # noqa: S603
            if done.returncode != 0:
                raise UsageError(f"Kafka could not format {folder / 'data'}:\n{done.stdout}{done.stderr}")

    def _properties(self, node: int) -> dict[str, str]:
        ports = self._ports[node]
        voters = ",".join(f"{number}@{HOST}:{each.controller}" for number, each in self._ports.items())
        replicas = str(self._nodes)
        in_sync = "2" if self._nodes > 1 else "1"
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://{HOST}:{ports.broker},CONTROLLER://{HOST}:{ports.controller}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self._folder(node) / "data"),
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            **_COMMON,
            **_SESSION[self._nodes],
            **self._security(ports),
            **(_LEAN if self._profile == "lean" else {}),
        }

    def _security(self, ports: Ports) -> dict[str, str]:
        """Who may do what; controllers, which talk to each other on loopback alone, stay as they are."""
        if not self._users:
            return {}
        first, password = next(iter(self._users.items()))
        login = "org.apache.kafka.common.security.scram.ScramLoginModule"
        protocol = "SASL_PLAINTEXT" if self._tls is None else "SASL_SSL"
        stores = {} if self._tls is None else {
            "ssl.keystore.type": "PEM", "ssl.keystore.location": str(self._tls[0]),
            "ssl.truststore.type": "PEM", "ssl.truststore.location": str(self._tls[1]),
        }  # fmt: skip
        return {
            **stores,
            "listeners": f"{protocol}://{HOST}:{ports.broker},CONTROLLER://{HOST}:{ports.controller}",
            "listener.security.protocol.map": f"{protocol}:{protocol},CONTROLLER:PLAINTEXT",
            "security.inter.broker.protocol": protocol,
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            f"listener.name.{protocol.lower()}.scram-sha-512.sasl.jaas.config": (
                f'{login} required username="{first}" password="{password}";'
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{first};User:ANONYMOUS",
        }

    def _java_words(self, flags: Iterable[str]) -> list[str]:
        if self._java is None:
            self._java = jars.find_java()
            self._class_path = ":".join(str(path) for path in jars.fetch_jars(self._progress))
        return [
            str(self._java.path), *self._java.flags, *flags,
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
            "-cp", self._class_path,
        ]  # fmt: skip

    def _spawn(self, node: int) -> None:
        ports, folder = self._ports[node], self._folder(node)
        for port in (ports.broker, ports.controller):
            if not port_is_free(port):
                raise UsageError(f"Port {port} is in use (by another broker?). Try --kafka-port, or deskline down.")
        log = self._log(node)
        # One former log is kept: it tells of the crash that made this start necessary.
        with contextlib.suppress(FileNotFoundError):
            log.replace(log.with_suffix(".log.1"))
        self._running[node] = OwnedProcess.spawn(
            [*self._java_words(_JVM[self._profile]), _ENTRY, str(folder / "server.properties")],
            pid_file=folder / "server.pid",
            log=log,
            death_signal=self._death_signal,
        )

    def _wait_ready(self, node: int, timeout_s: float) -> None:
        process, port = self._running[node], self._ports[node].broker
        tls = self._tls is not None
        wait_until(lambda: answers(port, tls=tls) or not process.running(), timeout_s)
        if not process.running():
            raise UsageError(self._why_ended(node))
        if not answers(port, tls=tls):
            raise UsageError(
                f"Kafka did not answer within {timeout_s:.0f} s. Its log: {self._log(node)}\n{tail(self._log(node))}"
            )

    def _foreign_data(self, node: int) -> str:
        folder = self._folder(node) / "data"
        return f"The data folder belongs to another broker: {folder}. deskline down --wipe starts anew."

    def _why_ended(self, node: int) -> str:
        log = self._log(node)
        last = tail(log)
        if "Invalid cluster.id" in last:
            return self._foreign_data(node)
        if "Address already in use" in last:
            ports = self._ports[node]
            return (
                f"Port {ports.broker} or {ports.controller} is in use (by another broker?). "
                "Try --kafka-port, or deskline down."
            )
        return f"Kafka ended while starting. Its log: {log}\n{last}"


def render(properties: dict[str, str]) -> str:
    """A Java properties file. Backslashes and leading blanks of a path would otherwise be eaten."""
    return "".join(f"{name}={value.replace(chr(92), chr(92) * 2)}\n" for name, value in properties.items())


def _dump(noted: dict[str, Any]) -> str:
    return json.dumps(noted, indent=2) + "\n"


def _new_cluster_id() -> str:
    """22 characters of URL-safe base64; Kafka's tools take a leading ``-`` for an option."""
    while True:
        text = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _ask(port: int, request: bytes, *, tls: bool = False) -> bytes | None:
    """The answer's body behind its correlation id 1, or None: nobody there, or somebody else."""
    try:
        plain = socket.create_connection((HOST, port), timeout=5)
        with plain, _unverified(plain) if tls else plain as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as reader:
                (size,) = struct.unpack(">i", reader.read(4))
                if not 4 <= size <= 1 << 20:
                    return None
                answer = reader.read(size)
    except (OSError, struct.error):
        return None
    return answer[4:] if answer[:4] == b"\x00\x00\x00\x01" else None


def _unverified(plain: socket.socket) -> socket.socket:
    """TLS to our own broker on loopback, which is asked whether it is there, and told nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain)


def answers(port: int, *, tls: bool = False) -> bool:
    """Whether a Kafka broker answers ApiVersions v0 on this port."""
    return _ask(port, bytes.fromhex("0012 0000 00000001 ffff"), tls=tls) is not None


def _broker_count(port: int) -> int:
    """How many live brokers this one knows: Metadata v1 for no topic. 0 when it does not answer."""
    body = _ask(port, bytes.fromhex("0003 0001 00000001 ffff 00000000"))
    return struct.unpack(">i", body[:4])[0] if body and len(body) >= 4 else 0
