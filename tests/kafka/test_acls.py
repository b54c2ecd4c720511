"""A Kafka with TLS, logins and an authorizer: every part does its work with its own login, and nobody can do another's."""

import asyncio
import os
import re
import subprocess
import sys

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from pydantic import SecretStr
from tests.fixtures.certificates import self_signed
from tests.fixtures.deployment import said
from tests.fixtures.image import ROOT

from deskline.acls import SERVICES, Acl, _Admin
from deskline.clock import now_us
from deskline.kafka import connection_options, partition_of
from deskline.settings import ServiceSettings
from deskline.stack.files import free_ports
from deskline.stack.http import get
from deskline.stack.kafka import EmbeddedKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(580)]
PEOPLE = ("topics", "config", "gateway", "operators", *SERVICES)
PASSWORDS = {"admin": "planted-of-admin", **{f"deskline-{name}": f"planted-of-{name}" for name in PEOPLE}}


@pytest.fixture
def tls(tmp_path):
    """(a file with the broker's key and certificate, one with the authority's certificate)."""
    key, certificate = self_signed()
    (tmp_path / "broker.pem").write_bytes(key + certificate)
    (tmp_path / "ca.pem").write_bytes(certificate)
    return tmp_path / "broker.pem", tmp_path / "ca.pem"


@pytest.fixture
def broker(tmp_path, tls):
    kafka = EmbeddedKafka(tmp_path / "kafka", users=PASSWORDS, tls=tls, dies_with_parent=True).start()
    yield kafka
    kafka.kill_node(1)


def start(service, environment, log):
    return subprocess.Popen(
        [sys.executable, "-m", "deskline", service], env=os.environ | environment, stdout=log, stderr=log
    )


async def refused(work):
    """Whether Kafka says that this may not be done."""
    try:
        await asyncio.wait_for(work, 30)
    except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
        # The cluster's: who may write no topic at all gets no producer's id.
        return True
    return False


async def test_each_part_may_do_its_own_work_and_no_other(broker, tls, migrated_database, tmp_path, eventually):
    def environment(name, **more):
        return {
            "DESKLINE_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "DESKLINE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "DESKLINE_KAFKA_CA_FILE": str(tls[1]),
            "DESKLINE_KAFKA_USERNAME": name,
            "DESKLINE_KAFKA_PASSWORD": PASSWORDS[name],
            "DESKLINE_POSTGRES_DSN": migrated_database,
            "DESKLINE_TOPIC_PREFIX": "acl-",
            **more,
        }

    def settings(name, password=None, ca=tls[1]):
        return ServiceSettings(
            bootstrap_servers=broker.bootstrap_servers, topic_prefix="acl-", kafka_security_protocol="SASL_SSL",
            kafka_ca_file=ca,
            kafka_username=name, kafka_password=SecretStr(password or PASSWORDS[name]),
        )  # fmt: skip

    def deskline(name, *words, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "deskline", *words], env=os.environ | environment(name),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        assert "planted" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    async def write(name, topic, value=b"{}", key=b"k"):
        client = AIOKafkaProducer(
            **connection_options(settings(name)), enable_idempotence=True, request_timeout_ms=8000
        )
        try:
            await client.start()
            count = len(await client.partitions_for(f"acl-{topic}"))
            await client.send_and_wait(f"acl-{topic}", value, key=key, partition=partition_of(key, count))
        finally:
            await client.stop()

    async def sees(name, topic):
        client = AIOKafkaAdminClient(**connection_options(settings(name)))
        try:
            await client.start()
            (described,) = await client.describe_topics([f"acl-{topic}"])
            return described["error_code"] == 0
        finally:
            await client.close()

    async def read(name, topic, partitions=4):
        client = AIOKafkaConsumer(**connection_options(settings(name)), auto_offset_reset="earliest")
        try:
            await client.start()
            client.assign([TopicPartition(f"acl-{topic}", partition) for partition in range(partitions)])
            return await client.getone()
        finally:
            await client.stop()

    # Without rights nobody may do anything; the administrator gives them, once.
    assert "Authorization failed" in deskline("deskline-topics", "topics", "apply", "--partitions", "4", code=2)
    assert "added: User:deskline-sla topic acl-sla.v1 Write" in deskline("admin", "topics", "acls", "--apply")
    assert deskline("admin", "topics", "acls", "--diff") == "nothing to do\n"
    deskline("deskline-topics", "topics", "apply", "--partitions", "4")
    deskline("deskline-topics", "topics", "show")
    deskline("deskline-config", "config", "apply", str(ROOT / "examples" / "config"))

    running, ports = {}, dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    try:
        for name, port in ports.items():
            more = {
                "DESKLINE_HTTP_PORT": str(port),
                "DESKLINE_LOG_LEVEL": "debug",
                "DESKLINE_ARCHIVE_HOME": str(tmp_path / "home"),
            }
            with (tmp_path / f"{name}.log").open("wb") as log:
                running[name] = start(name, environment(f"deskline-{name}", **more), log)

        async def ready():
            answers = [await get(f"http://127.0.0.1:{port}/readyz") for port in ports.values()]
            return all(answer is not None and answer[0] == 200 for answer in answers)

        await eventually(ready, "all ready, each with its own login", 300)
        _, value = said("c-1", now_us(), "m-1", "在吗", shop_id="wardrobe")
        await write("deskline-gateway", "conversations.v1", value, b"c-1")
        record = await asyncio.wait_for(read("deskline-gateway", "replies.v1"), 60)
        assert record.key == b"c-1"
        exposed = [
            (await get(f"http://127.0.0.1:{port}/{path}"))[1]
            for port in ports.values()
            for path in ("metrics", "readyz")
        ]
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            assert process.wait(60) == 0

    # Nobody was refused anything while all did their work.
    told = (broker.directory / "node-1" / "server.log").read_text()
    denied = re.findall(r"Principal = User:(\S+) is Denied operation = (\w+) .*Topic:LITERAL:(\S+)", told)
    assert [each for each in denied if each[0] != "deskline-topics"] == []

    # A service, or the gateway, that writes or reads where it may not.
    for name, topic in (
        ("autoreply", "conversations.v1"), ("autoreply", "routing.v1"), ("router", "replies.v1"), ("sla", "agents.v1"),
        ("archive", "sla.v1"), ("gateway", "replies.v1"), ("gateway", "shops.v1"), ("config", "conversations.v1"),
        ("operators", "conversations.v1"),
    ):  # fmt: skip
        assert await refused(write(f"deskline-{name}", topic)), f"{name} writes {topic}"
    assert await refused(read("deskline-config", "shops.v1", 1)), "it only writes there"
    for name, topic in (("operators", "conversations.v1"), ("autoreply", "agents.v1"), ("gateway", "checkpoints.v1")):
        assert not await sees(f"deskline-{name}", topic)
    # A wrong password; and a broker whose certificate nobody vouches for gets none at all.
    for stranger in (settings("deskline-sla", "a-wrong-one"), settings("deskline-sla", ca=None)):
        client = AIOKafkaProducer(**connection_options(stranger))
        with pytest.raises(KafkaError):
            await client.start()
        await client.stop()

    # What somebody gave by hand is told; nothing is taken away.
    async with _Admin(settings("admin")) as admin:
        await admin.add(Acl("User:eve", "topic", "acl-replies.v1", "Write"))
    assert "surplus: User:eve topic acl-replies.v1 Write" in deskline("admin", "topics", "acls", "--diff", code=1)

    logs = [(tmp_path / f"{name}.log").read_bytes() for name in SERVICES]
    assert all(b"lanes acquired" in log for log in logs)
    assert not [found for found in [*logs, *exposed] if b"planted" in found]
