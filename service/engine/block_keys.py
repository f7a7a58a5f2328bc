"""What stands for the contents of a full block: a digest of all tokens up to its end. Knows no blocks.

The chain begins with the request's salt and the type that keys and values are kept in, so that equal prompts of
different salts have nothing in common. Digests are
cryptographic, because a collision that somebody can make would show one caller's prompt to another.
"""

from array import array
from collections.abc import Sequence
from hashlib import blake2b

from kernels.runtime.abi import BLOCK_TOKENS

DIGEST_BYTES = 16


def chain_root(salt: str, kv_type: str = "f16") -> bytes:
    return blake2b(salt.encode(), digest_size=DIGEST_BYTES, person=kv_type.encode()).digest()


def extend_chain(keys: list[bytes], root: bytes, token_ids: Sequence[int]) -> None:
    """Append the keys of the full blocks of `token_ids` that `keys` does not reach yet."""
    for index in range(len(keys), len(token_ids) // BLOCK_TOKENS):
        tokens = array("q", token_ids[index * BLOCK_TOKENS : (index + 1) * BLOCK_TOKENS])
        parent = keys[-1] if keys else root
        keys.append(blake2b(tokens.tobytes(), digest_size=DIGEST_BYTES, key=parent).digest())
