"""Hands out KV blocks and counts who holds them. Knows no tokens, no sequences and no memory: a block is an id.

A block whose contents are worth keeping has a key. When nobody holds it any more it stays where it is, free and cached,
until the room is needed: the one that was freed longest ago goes first.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from kernels.runtime.abi import BLOCK_TOKENS


def blocks_for(num_tokens: int) -> int:
    return -(-num_tokens // BLOCK_TOKENS)


class BlockPool:
    """`num_blocks` blocks, each held by one or more block tables, or free; with a key, or without."""

    def __init__(self, num_blocks: int) -> None:
        assert num_blocks >= 1, num_blocks
        self._ref_counts = [0] * num_blocks
        # A stack: the block freed last is reused first, while the caches still know it.
        self._free = list(range(num_blocks - 1, -1, -1))
        # Free blocks with a key; the one freed longest ago first.
        self._cached: OrderedDict[int, None] = OrderedDict()
        self._keys: list[bytes | None] = [None] * num_blocks
        self._blocks: dict[bytes, int] = {}

    @property
    def num_blocks(self) -> int:
        return len(self._ref_counts)

    @property
    def num_free(self) -> int:
        """Cached ones count in."""
        return len(self._free) + len(self._cached)

    @property
    def num_used(self) -> int:
        return self.num_blocks - self.num_free

    @property
    def num_cached(self) -> int:
        """Free blocks that can still be found by their keys."""
        return len(self._cached)

    def is_free(self, block: int) -> bool:
        return self._ref_counts[block] == 0

    def can_allocate(self, num_blocks: int) -> bool:
        return num_blocks <= self.num_free

    def allocate(self, num_blocks: int) -> list[int]:
        """Blocks that nobody else holds. Cached ones are forgotten where nothing else is free."""
        assert self.can_allocate(num_blocks), (num_blocks, self.num_free)
        blocks = [self._free.pop() if self._free else self._evict() for _ in range(num_blocks)]
        for block in blocks:
            self._ref_counts[block] = 1
        return blocks

    def find(self, key: bytes) -> int | None:
        """The block with this key, free or held."""
        return self._blocks.get(key)

    def publish(self, block: int, key: bytes) -> None:
        """The contents of a held block are complete, and will not change while it has this key.

        No effect if another block has it: the first one is kept, and this one stays its holder's own.
        """
        assert self._ref_counts[block] > 0, f"block {block} is free and cannot be published"
        assert self._keys[block] is None, f"block {block} has a key"
        if key not in self._blocks:
            self._keys[block] = key
            self._blocks[key] = block

    def forget(self, blocks: Iterable[int]) -> None:
        """Nobody shall find these held blocks by their keys any more."""
        for block in blocks:
            assert self._ref_counts[block] > 0, f"block {block} is free"
            self._unkey(block)

    def share(self, blocks: Iterable[int]) -> None:
        """Hold blocks which somebody holds already, or which are cached."""
        for block in blocks:
            if self._ref_counts[block] == 0:
                assert block in self._cached, f"block {block} is free and cannot be shared"
                del self._cached[block]
            self._ref_counts[block] += 1

    def free(self, blocks: Sequence[int]) -> None:
        """Give up one hold on each block of a table. Its tail is forgotten before its head, which more may share."""
        for block in reversed(blocks):
            assert self._ref_counts[block] > 0, f"block {block} is freed twice"
            self._ref_counts[block] -= 1
            if self._ref_counts[block] > 0:
                continue
            if self._keys[block] is None:
                self._free.append(block)
            else:
                self._cached[block] = None

    def check(self, block_tables: Iterable[Sequence[int]]) -> None:
        """Assert that exactly these tables hold the blocks in use: none lost, none leaked, none held by surprise."""
        holds = Counter(block for table in block_tables for block in table)
        for block, count in enumerate(self._ref_counts):
            assert count == holds[block], f"block {block} is counted {count} times and held {holds[block]} times"
        free = {*self._free, *self._cached}
        assert len(free) == self.num_free, "a block is free twice"
        assert free == {block for block, count in enumerate(self._ref_counts) if count == 0}, "free blocks and counts"
        assert all(self._keys[block] is None for block in self._free), "a block with a key is not cached"
        keys = {key: block for block, key in enumerate(self._keys) if key is not None}
        assert keys == self._blocks, "keys and blocks"
        assert keys.keys() >= {self._keys[block] for block in self._cached}, "a block without a key is cached"

    def _evict(self) -> int:
        block, _ = self._cached.popitem(last=False)
        self._unkey(block)
        return block

    def _unkey(self, block: int) -> None:
        key = self._keys[block]
        if key is not None:
            self._keys[block] = None
            del self._blocks[key]
