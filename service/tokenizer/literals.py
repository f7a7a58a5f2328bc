"""Finds tokens that are taken as they are written: leftmost first, then longest. Knows no algorithm for the rest."""

import re
from collections.abc import Iterator, Mapping


class Literals:
    """`ids` by text. A text is looked at where a token may begin, and there once for each length of such tokens."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self._ids = ids
        lengths: dict[str, set[int]] = {}
        for first, size in {(text[0], len(text)) for text in ids}:
            lengths.setdefault(first, set()).add(size)
        self._lengths = {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}
        self._starts = re.compile("|".join(map(re.escape, self._lengths))) if ids else None

    def split(self, text: str) -> Iterator[str | int]:
        """Texts between the tokens, and the tokens' ids, in order."""
        done = 0
        for match in self._starts.finditer(text) if self._starts is not None else ():
            start = match.start()
            if start < done:
                continue
            for size in self._lengths[match.group()]:
                token_id = self._ids.get(text[start : start + size])
                if token_id is not None:
                    if start > done:
                        yield text[done:start]
                    yield token_id
                    done = start + size
                    break
        if done < len(text):
            yield text[done:]
