"""Who may call: API keys, compared in constant time, read anew when their file changes. Knows no protocol.

A key file has one key a line, then what it may do: `sk-abc name=alice max_open=8 admin`. Empty lines and those that
begin with # are passed over.
"""

import contextlib
import hashlib
import hmac
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from service.errors import Forbidden, SettingsError, TooManyRequests, Unauthenticated

log = logging.getLogger(__name__)

MIN_KEY_CHARS = 8
LOOK_AGAIN_S = 1.0
"""How often the file is looked at, while requests come."""


@dataclass(frozen=True, slots=True)
class Key:
    digest: bytes
    name: str
    is_admin: bool = False
    """May end what others have begun."""
    max_open: int | None = None
    """Requests at the same time."""


ANYBODY = Key(b"", "anybody", is_admin=True)


class Access:
    """All of it on one thread. Without a key and without a file everybody may."""

    def __init__(
        self, keys: str | None = None, file: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`keys`: separated by commas; each is an administrator's. SettingsError if a key or the file is not usable."""
        self._file = file
        self._clock = clock
        self._fixed = [_key([text.strip(), "admin"], "the setting api_key") for text in (keys or "").split(",") if text]
        self._stamp: tuple[int, int, int] | None = None
        self._from_file: list[Key] = []
        self._looked_s = clock()
        self._open: Counter[str] = Counter()
        if file is not None:
            try:
                self._stamp = _stamp(file)
                self._from_file = _read(file)
            except OSError as error:
                raise SettingsError(f"cannot read the keys in {file}: {error.strerror}") from None

    @property
    def is_open(self) -> bool:
        return not self._fixed and self._file is None

    def key(self, authorization: str | None) -> Key:
        """Whose request it is, by the header's whole value. Raises Unauthenticated."""
        if self.is_open:
            return ANYBODY
        self._look_again()
        scheme, _, token = (authorization or "").partition(" ")
        digest = hashlib.sha256(token.strip().encode(errors="surrogateescape")).digest()
        found: Key | None = None
        for key in (*self._fixed, *self._from_file):  # all of them, so that time says nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None or scheme.lower() != "bearer":
            raise Unauthenticated("an API key is required: Authorization: Bearer KEY")
        return found

    @contextlib.contextmanager
    def admitted(self, authorization: str | None, *, as_admin: bool = False) -> Iterator[Key]:
        """For as long as the request is open. Raises Unauthenticated, Forbidden, TooManyRequests."""
        key = self.key(authorization)
        if as_admin and not key.is_admin:
            raise Forbidden("this call is an administrator's")
        if key.max_open is not None and self._open[key.name] >= key.max_open:
            raise TooManyRequests(f"{self._open[key.name]} requests of this key are open, and no more may be")
        self._open[key.name] += 1
        try:
            yield key
        finally:
            self._open[key.name] -= 1

    def _look_again(self) -> None:
        if self._file is None or self._clock() - self._looked_s < LOOK_AGAIN_S:
            return
        self._looked_s = self._clock()
        try:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._from_file = _read(self._file)
                self._stamp = stamp
                log.info("read %d API keys anew", len(self._from_file))
        except (OSError, SettingsError) as error:
            log.warning("the API keys stay as they were: %s", error)


def _stamp(file: Path) -> tuple[int, int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(file: Path) -> list[Key]:
    lines = file.read_text(errors="replace").splitlines()
    words = [(number, line.split()) for number, line in enumerate(lines, 1) if not line.strip().startswith("#")]
    return [_key(parts, f"{file}, line {number}") for number, parts in words if parts]


def _key(parts: list[str], place: str) -> Key:
    text, *rest = parts
    if len(text) < MIN_KEY_CHARS:
        raise SettingsError(f"{place}: a key has at least {MIN_KEY_CHARS} characters, not {len(text)}")
    digest = hashlib.sha256(text.encode()).digest()
    name, is_admin, max_open = digest.hex()[:8], False, None
    for word in rest:
        option, _, value = word.partition("=")
        match option:
            case "admin" if not value:
                is_admin = True
            case "name" if value:
                name = value
            case "max_open" if value.isascii() and value.isdecimal() and int(value) > 0:
                max_open = int(value)
            case _:
                raise SettingsError(f"{place}: {word[:40]!r} is none of name=NAME, max_open=NUMBER and admin")
    return Key(digest, name, is_admin, max_open)
