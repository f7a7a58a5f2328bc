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
    pool.free([second, first])
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


class BlockPoolMachine(RuleBasedStateMachine):
    """Any allocating, sharing and freeing keeps every block accounted for."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(12)
        self.tables: list[list[int]] = []

    @rule(num_blocks=st.integers(0, 13))
    def allocate(self, num_blocks: int) -> None:
        assert self.pool.can_allocate(num_blocks) == (num_blocks <= self.pool.num_free)
        if self.pool.can_allocate(num_blocks):
            self.tables.append(self.pool.allocate(num_blocks))
            assert len(self.tables[-1]) == num_blocks

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


TestBlockPool = BlockPoolMachine.TestCase
TestBlockPool.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
