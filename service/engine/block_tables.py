"""Gives sequences their blocks, and the same ones to those that begin alike. Knows no steps and no order.

A block of 32 tokens is shared once it is full and computed (automatic prefix caching). While somebody computes one that
another sequence needs, the other one waits: a prompt that many send at once is computed once.
"""

from dataclasses import dataclass

from kernels.runtime.abi import BLOCK_TOKENS
from service.engine.block_keys import chain_root, extend_chain
from service.engine.blocks import BlockPool, blocks_for
from service.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class PrefixStats:
    """Prompt tokens of the sequences that were admitted, and how many of them were found."""

    num_queried_tokens: int = 0
    num_hit_tokens: int = 0


NO_PREFIXES = PrefixStats()


class BlockTables:
    def __init__(self, pool: BlockPool, *, shares: bool = True, kv_type: str = "f16") -> None:
        """`shares`: whether prefixes are cached and shared at all. `kv_type`: what blocks are kept in."""
        self._pool = pool
        self._shares = shares
        self._kv_type = kv_type
        # Keys of blocks that running sequences are going to compute.
        self._under_way: dict[bytes, Sequence] = {}
        self._num_queried_tokens = 0
        self._num_hit_tokens = 0

    @property
    def stats(self) -> PrefixStats:
        return PrefixStats(self._num_queried_tokens, self._num_hit_tokens)

    def must_wait(self, sequence: Sequence) -> bool:
        """Whether somebody computes the next block that it needs and lacks."""
        keys = self._shareable_keys(sequence)
        found = self._find(keys)
        return len(found) < len(keys) and keys[len(found)] in self._under_way

    def can_admit(self, sequence: Sequence, num_reserved: int) -> bool:
        """Whether there is room for all its tokens, and `num_reserved` blocks more."""
        found = self._find(self._shareable_keys(sequence))
        num_new = blocks_for(len(sequence.token_ids)) - len(found)
        num_cached = sum(self._pool.is_free(block) for block in found)
        return self._pool.can_allocate(num_new + num_cached + num_reserved)

    def admit(self, sequence: Sequence) -> None:
        """Fill its block table. What is found counts as computed; at least one token is left to compute."""
        assert not sequence.block_table, sequence
        keys = self._shareable_keys(sequence)
        found = self._find(keys)
        self._pool.share(found)
        num_new = blocks_for(len(sequence.token_ids)) - len(found)
        sequence.block_table = [*found, *self._pool.allocate(num_new)]
        sequence.num_computed = BLOCK_TOKENS * len(found)
        sequence.num_published = len(found)
        for key in keys[len(found) :]:
            self._under_way.setdefault(key, sequence)
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = min(sequence.num_computed, sequence.num_prompt_tokens)
            self._num_queried_tokens += sequence.num_prompt_tokens
            self._num_hit_tokens += sequence.num_cached_tokens

    def publish(self, sequence: Sequence) -> None:
        """After a step: whatever blocks it has filled can be shared from now on."""
        num_full = sequence.num_computed // BLOCK_TOKENS
        if not self._shares or num_full == sequence.num_published:
            return
        self._extend(sequence)
        for index in range(sequence.num_published, num_full):
            key = sequence.block_keys[index]
            self._pool.publish(sequence.block_table[index], key)
            if self._under_way.get(key) is sequence:
                del self._under_way[key]
        sequence.num_published = num_full

    def release(self, sequence: Sequence, *, is_spoilt: bool = False) -> None:
        """Take its blocks back. `is_spoilt`: what it has computed shall not be shared."""
        for key in sequence.block_keys[sequence.num_published :]:
            if self._under_way.get(key) is sequence:
                del self._under_way[key]
        if is_spoilt:
            self._pool.forget(sequence.block_table)
        self._pool.free(sequence.block_table)
        sequence.block_table = []
        sequence.num_computed = sequence.num_published = 0

    def check(self) -> None:
        """Assert that whatever is waited for is on its way."""
        for key, sequence in self._under_way.items():
            assert sequence.block_table, f"{sequence} computes nothing"
            assert key in sequence.block_keys[sequence.num_published :], f"{sequence} computes something else"

    def _extend(self, sequence: Sequence) -> None:
        extend_chain(sequence.block_keys, chain_root(sequence.request.cache_salt, self._kv_type), sequence.token_ids)

    def _shareable_keys(self, sequence: Sequence) -> list[bytes]:
        """Of its full blocks, but for the last token's: that token has to be computed, to sample the next."""
        if not self._shares or sequence.wants_scores:
            return []
        self._extend(sequence)
        return sequence.block_keys[: (len(sequence.token_ids) - 1) // BLOCK_TOKENS]

    def _find(self, keys: list[bytes]) -> list[int]:
        found = []
        for key in keys:
            block = self._pool.find(key)
            if block is None:
                break
            found.append(block)
        return found
