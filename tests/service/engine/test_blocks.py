import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.engine.blocks import BlockPool, blocks_for


@pytest.mark.parametrize(("num_tokens", "num_blocks"), [(0, 0), (1, 1), (31, 1), (32, 1), (33, 2), (64, 2)])
def test_blocks_for_rounds_up(num_tokens: int, num_blocks: int) -> None:
    assert blocks_for(num_tokens) == num_blocks


def test_more_than_is_free_cannot_be_allocated() -> None:
    pool = BlockPool(3)
    pool.allocate(2)
    assert pool.can_allocate(1)
    assert not pool.can_allocate(2)
    with pytest.raises(AssertionError):
        pool.allocate(2)


def test_freeing_twice_is_caught() -> None:
    pool = BlockPool(2)
    blocks = pool.allocate(1)
    pool.free(blocks)
    with pytest.raises(AssertionError, match="freed twice"):
        pool.free(blocks)


def test_check_finds_a_leak_and_a_block_held_by_surprise() -> None:
    pool = BlockPool(4)
    table = pool.allocate(2)
    pool.check([table])
    with pytest.raises(AssertionError, match="held 0 times"):
        pool.check([table[:1]])
    with pytest.raises(AssertionError, match="held 2 times"):
        pool.check([table, table])


def test_the_block_freed_last_is_used_first() -> None:
    pool = BlockPool(8)
    first, second = pool.allocate(2)
    pool.free([first, second])
    assert pool.allocate(2) == [first, second]


def test_a_shared_block_is_free_when_the_last_holder_gives_it_up() -> None:
    pool = BlockPool(2)
    table = pool.allocate(1)
    pool.share(table)
    pool.free(table)
    assert pool.num_used == 1
    pool.free(table)
    assert pool.num_used == 0
    with pytest.raises(AssertionError, match="cannot be shared"):
        pool.share(table)


def test_a_block_with_a_key_is_found_until_its_room_is_needed() -> None:
    pool = BlockPool(3)
    table = pool.allocate(2)
    for block, key in zip(table, (b"one", b"two"), strict=True):
        pool.publish(block, key)
    pool.free(table)
    assert (pool.num_free, pool.num_cached, pool.num_used) == (3, 2, 0)
    assert [pool.find(key) for key in (b"one", b"two", b"three")] == [*table, None]
    pool.share(table[:1])
    assert (pool.num_free, pool.num_cached) == (2, 1)
    # The one that was never published goes first, then the one that nobody holds.
    assert pool.allocate(1)[0] not in table
    assert pool.allocate(1) == table[1:]
    assert pool.find(b"two") is None
    assert pool.find(b"one") == table[0]


def test_the_block_freed_longest_ago_is_forgotten_first_and_a_tail_before_its_head() -> None:
    pool = BlockPool(4)
    first, second = pool.allocate(2), pool.allocate(2)
    for block, key in zip([*first, *second], (b"a0", b"a1", b"b0", b"b1"), strict=True):
        pool.publish(block, key)
    pool.free(first)
    pool.free(second)
    assert pool.allocate(4) == [*reversed(first), *reversed(second)]


def test_the_first_block_of_a_key_is_kept() -> None:
    pool = BlockPool(2)
    first, second = pool.allocate(1), pool.allocate(1)
    pool.publish(first[0], b"key")
    pool.publish(second[0], b"key")
    assert pool.find(b"key") == first[0]
    pool.free(second)
    assert pool.num_cached == 0
    pool.check([first])


def test_what_is_forgotten_is_not_found() -> None:
    pool = BlockPool(2)
    table = pool.allocate(1)
    pool.publish(table[0], b"key")
    pool.forget(table)
    assert pool.find(b"key") is None
    pool.free(table)
    assert pool.num_cached == 0


class BlockPoolMachine(RuleBasedStateMachine):
    """Any allocating, publishing, sharing and freeing keeps every block accounted for, and no key lies."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(12)
        self.tables: list[list[int]] = []
        self.contents: dict[int, bytes] = {}
        """Of blocks with a key, until they are allocated again."""

    @rule(num_blocks=st.integers(0, 13))
    def allocate(self, num_blocks: int) -> None:
        assert self.pool.can_allocate(num_blocks) == (num_blocks <= self.pool.num_free)
        if self.pool.can_allocate(num_blocks):
            self.tables.append(self.pool.allocate(num_blocks))
            assert len(self.tables[-1]) == num_blocks
            for block in self.tables[-1]:
                self.contents.pop(block, None)

    @rule(data=st.data(), key=st.binary(min_size=1, max_size=1))
    def publish(self, data: st.DataObject, key: bytes) -> None:
        held = sorted({block for table in self.tables for block in table} - set(self.contents))
        if held:
            block = data.draw(st.sampled_from(held))
            if key not in self.contents.values():
                self.contents[block] = key
                self.pool.publish(block, key)
                assert self.pool.find(key) == block

    @rule(data=st.data())
    def share_found(self, data: st.DataObject) -> None:
        if self.contents:
            key = data.draw(st.sampled_from(sorted(self.contents.values())))
            block = self.pool.find(key)
            assert block is not None
            assert self.contents[block] == key
            self.pool.share([block])
            self.tables.append([block])

    @rule(data=st.data(), num_blocks=st.integers(0, 12))
    def share(self, data: st.DataObject, num_blocks: int) -> None:
        if self.tables:
            prefix = data.draw(st.sampled_from(self.tables))[:num_blocks]
            self.pool.share(prefix)
            self.tables.append(prefix)

    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        if self.tables:
            self.pool.free(self.tables.pop(data.draw(st.integers(0, len(self.tables) - 1))))

    @invariant()
    def conserved(self) -> None:
        self.pool.check(self.tables)
        assert self.pool.num_used == len({block for table in self.tables for block in table})
        assert self.pool.num_used + self.pool.num_free == self.pool.num_blocks
        assert {key: self.pool.find(key) for key in self.contents.values()} == {
            key: block for block, key in self.contents.items()
        }


TestBlockPool = BlockPoolMachine.TestCase
TestBlockPool.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
