"""The lock of Kafka's jars and the small decisions around the embedded servers; no network, no server."""

import hashlib
import socket
import threading

import pytest

from deskline.errors import UsageError
from deskline.stack.files import free_ports, port_is_free, read_json, tail, write_atomically
from deskline.stack.http import metric_sum
from deskline.stack.jars import KAFKA_VERSION, Jar, Java, check, lock, parse_lock
from deskline.stack.kafka import answers, render


def test_the_lock_holds_kafka_and_a_log_binding_that_fits_its_slf4j():
    jars = {f"{jar.group}:{jar.artifact}": jar for jar in lock()}
    assert len(jars) == 45
    assert jars["org.apache.kafka:kafka_2.13"].version == KAFKA_VERSION
    # Another line of slf4j-simple does not bind, and every failure of the broker would be mute.
    assert jars["org.slf4j:slf4j-simple"].version == jars["org.slf4j:slf4j-api"].version == "1.7.36"
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in jars.values())


def test_jars_come_in_one_order_whatever_the_files_order():
    text = "# a comment\nb:y:2 22 7\n\na:x:1 11 5\n"
    assert [jar.coordinate for jar in parse_lock(text)] == ["a:x:1", "b:y:2"]


def test_a_jar_with_other_bytes_is_refused_by_name(tmp_path):
    path = tmp_path / "a.jar"
    path.write_bytes(b"right")
    jar = Jar("a", "x", "1", hashlib.sha256(b"right").hexdigest(), 5)
    check([(jar, path)])
    path.write_bytes(b"wrong")
    with pytest.raises(UsageError, match=r"a:x:1: sha256 differs from the lock\. Delete .*a\.jar and try again"):
        check([(jar, path)])


@pytest.mark.parametrize(("major", "count"), [(17, 0), (21, 0), (25, 2)])
def test_only_a_java_that_knows_the_flags_gets_them(tmp_path, major, count):
    assert len(Java(tmp_path, major).flags) == count


def test_properties_keep_backslashes():
    assert render({"log.dirs": "C:\\data", "node.id": "1"}) == "log.dirs=C:\\\\data\nnode.id=1\n"


@pytest.mark.parametrize(
    ("answer", "is_kafka"),
    [
        (b"\x00\x00\x00\x0a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", True),
        (b"\x00\x00\x00\x0a\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00", False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"", False),
    ],
)
def test_only_an_answer_with_the_requests_correlation_id_is_kafka(answer, is_kafka):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert answers(server.getsockname()[1]) is is_kafka
        thread.join()


def test_nobody_there_is_not_kafka():
    assert answers(free_ports(1)[0]) is False


def test_free_ports_are_distinct_free_and_not_those_to_avoid():
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert not set(free_ports(5, avoid=frozenset(ports))) & set(ports)
    with socket.create_server(("127.0.0.1", ports[0])):
        assert not port_is_free(ports[0])
    assert port_is_free(ports[0])


def test_a_file_is_replaced_whole_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "stack.json"
    assert read_json(path) is None
    write_atomically(path, '{"a": 1}')
    write_atomically(path, '{"a": 2}')
    assert read_json(path) == {"a": 2}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["stack.json"]


def test_the_tail_of_a_log_is_its_last_lines(tmp_path):
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {n}" for n in range(1000)))
    assert tail(log, 2) == "line 998\nline 999"
    assert tail(tmp_path / "none") == "(no log)"


def test_a_metric_is_summed_over_its_labels_and_not_over_its_namesakes():
    text = 'waiting{shop="a"} 2.0\nwaiting{shop="b"} 3.0\nwaiting_total 9.0\n# HELP waiting x\n'
    assert metric_sum(text, "waiting") == 5.0
    assert metric_sum(text, "wait") is None
