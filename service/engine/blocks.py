"""Hands out KV blocks and counts who holds them. Knows no tokens, no sequences and no memory: a block is an id."""

from collections import Counter
from collections.abc import Iterable, Sequence

from kernels.runtime.abi import BLOCK_TOKENS


def blocks_for(num_tokens: int) -> int:
    return -(-num_tokens // BLOCK_TOKENS)


class BlockPool:
    """`num_blocks` blocks, each free or held by one or more block tables."""

    def __init__(self, num_blocks: int) -> None:
        assert num_blocks >= 1, num_blocks
        self._ref_counts = [0] * num_blocks
        # A stack: the block freed last is reused first, while the caches still know it.
        self._free = list(range(num_blocks - 1, -1, -1))

    @property
    def num_blocks(self) -> int:
        return len(self._ref_counts)

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return self.num_blocks - self.num_free

    def can_allocate(self, num_blocks: int) -> bool:
        return num_blocks <= self.num_free

    def allocate(self, num_blocks: int) -> list[int]:
        """Blocks that nobody else holds."""
        assert self.can_allocate(num_blocks), (num_blocks, self.num_free)
        blocks = [self._free.pop() for _ in range(num_blocks)]
        for block in blocks:
            self._ref_counts[block] = 1
        return blocks

    def share(self, blocks: Iterable[int]) -> None:
        """Hold blocks which somebody holds already."""
        for block in blocks:
            assert self._ref_counts[block] > 0, f"block {block} is free and cannot be shared"
            self._ref_counts[block] += 1

    def free(self, blocks: Iterable[int]) -> None:
        """Give up one hold on each block."""
        for block in blocks:
            assert self._ref_counts[block] > 0, f"block {block} is freed twice"
            self._ref_counts[block] -= 1
            if self._ref_counts[block] == 0:
                self._free.append(block)

    def check(self, block_tables: Iterable[Sequence[int]]) -> None:
        """Assert that exactly these tables hold the blocks in use: none lost, none leaked, none held by surprise."""
        holds = Counter(block for table in block_tables for block in table)
        for block, count in enumerate(self._ref_counts):
            assert count == holds[block], f"block {block} is counted {count} times and held {holds[block]} times"
        free = set(self._free)
        assert len(free) == len(self._free), "a block is on the free list twice"
        assert free == {block for block, count in enumerate(self._ref_counts) if count == 0}, "free list and counts"
