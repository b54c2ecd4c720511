"""What is recorded of a customer comes back from its row as a profile that a request's row can hold."""

import msgspec

from deskline_router.model import Customer, Fact, Profile
from deskline_router.policy import people


def test_a_customers_record_that_was_stored_and_read_completes_a_profile_that_is_stored_and_read_too():
    customer = Customer("衣橱", "k-1")
    people.learn(customer, Profile(tier="vip", total_spend=100.0, average_order=20.5, orders=3, dedicated="agent-1"), 1)
    facts = msgspec.msgpack.decode(msgspec.msgpack.encode(customer.facts), type=dict[str, Fact])
    customer.facts = facts
    profile = people.completed(Profile(channel="web"), customer)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(profile), type=Profile) == profile
    assert profile.orders == 3
    assert people.covered(customer, Profile(orders=3, total_spend=100.0))
