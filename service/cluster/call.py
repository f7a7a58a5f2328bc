"""What a front end sends to a replica, and what comes back: HTTP as values. Knows no Ray and no engine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """One request with its whole body."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    affinity: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """The first of what comes back; pieces of the body follow, as bytes."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
