"""A conversation goes back to where it was; a replica that goes takes only its own along."""

import json
from collections import Counter

import pytest

from service.cluster.affinity import MAX_LEAD, affinity_of, ranked

SYSTEM = {"role": "system", "content": "be brief"}
FIRST = {"role": "user", "content": "what is a sponge?"}
LATER = [{"role": "assistant", "content": "an animal"}, {"role": "user", "content": "where?"}]


def key(**body: object) -> str | None:
    return affinity_of(json.dumps(body).encode())


def favourites(replicas: list[str], num_keys: int = 400) -> dict[str, str]:
    keys = [f"conversation {number}" for number in range(num_keys)]
    return {one: ranked(one, replicas, str, lambda replica: 0)[0] for one in keys}


def test_a_conversation_keeps_its_key_as_it_grows() -> None:
    assert key(messages=[SYSTEM, FIRST]) == key(messages=[SYSTEM, FIRST, *LATER], temperature=0.5)
    assert key(messages=[SYSTEM, FIRST]) != key(messages=[SYSTEM, {**FIRST, "content": "what is moss?"}])
    assert key(messages=[SYSTEM, FIRST]) != key(messages=[FIRST])


def test_a_prompt_is_known_by_its_beginning() -> None:
    assert key(prompt="a" * 200) == key(prompt="a" * 200 + "b")
    assert key(prompt="a" * 200) != key(prompt="b" + "a" * 200)
    assert key(prompt=[*range(40)]) == key(prompt=[*range(50)])
    assert key(prompt=["a" * 200, "other"]) == key(prompt="a" * 200)


def test_the_caller_may_name_the_key() -> None:
    assert key(prompt_cache_key="k", prompt="one") == key(prompt_cache_key="k", prompt="two")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"messages": []}', b'{"prompt": ""}', b'{"prompt": 3}'])
def test_what_says_nothing_has_no_key(body: bytes) -> None:
    assert affinity_of(body) is None


def test_messages_of_no_form_are_not_our_business() -> None:
    assert key(messages=["hello", 3]) is not None


def test_conversations_spread_and_order_does_not_matter() -> None:
    found = favourites(["a", "b", "c", "d"])
    assert found == favourites(["c", "a", "d", "b"])
    assert min(Counter(found.values()).values()) > 60, "of 100 each on average"


def test_a_replica_that_goes_moves_only_what_it_held() -> None:
    before, after = favourites(["a", "b", "c"]), favourites(["a", "b"])
    assert all(after[one] == place for one, place in before.items() if place != "c")


def test_nobody_waits_for_a_favourite_far_ahead() -> None:
    favourite = ranked("one", ["a", "b"], str, lambda replica: 0)[0]
    (other,) = {"a", "b"} - {favourite}
    lengths = {favourite: MAX_LEAD, other: 0}
    assert ranked("one", ["a", "b"], str, lengths.__getitem__) == [favourite, other]
    lengths[favourite] += 1
    assert ranked("one", ["a", "b"], str, lengths.__getitem__) == [other, favourite]


def test_without_replicas_there_is_no_rank() -> None:
    assert ranked("one", [], str, lambda replica: 0) == []
