"""Who may write and read at Kafka follows from the file of topics, and from nothing else."""

import pytest

from deskline import topics
from deskline.acls import SERVICES, Acl, principal, wanted
from deskline.stack.stack import service_names

ACLS = wanted(topics.load(), "blue-")


@pytest.mark.parametrize("topic", topics.load(), ids=lambda topic: topic.name)
def test_a_topic_is_written_and_read_by_those_named_in_the_file_alone(topic):
    def may(operation):
        return {
            acl.principal
            for acl in ACLS
            if (acl.resource, acl.name, acl.operation) == ("topic", f"blue-{topic.name}", operation)
        }

    assert may("Write") == {principal(name) for name in topic.written_by}
    assert may("Read") == {principal(name) for name in topic.read_by}
    assert may("Describe") == may("Write") | may("Read") | {principal("topics")}
    assert may("Create") == may("AlterConfigs") == {principal("topics")}
    assert may("Delete") == set()


def test_every_service_has_its_own_group_and_others_have_groups_of_their_name():
    groups = {(acl.principal, acl.name, acl.pattern) for acl in ACLS if acl.resource == "group"}
    assert {each for each in groups if each[2] == "literal"} == {
        (principal(service), f"blue-deskline-{service}", "literal") for service in SERVICES
    }
    assert (principal("gateway"), "blue-gateway", "prefixed") in groups
    assert not any("config" in who for who, _, _ in groups), "it reads nothing"
    assert set(SERVICES) == set(service_names())


def test_they_can_be_given_by_kafkas_own_tool():
    assert Acl("User:deskline-sla", "topic", "blue-sla.v1", "Write").command("k:9092") == (
        "kafka-acls.sh --bootstrap-server k:9092 --add --allow-principal User:deskline-sla --operation Write "
        "--topic 'blue-sla.v1' --resource-pattern-type literal"
    )
