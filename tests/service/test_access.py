"""API keys: who is let in, what each may, and a file that changes while the server runs."""

from pathlib import Path

import pytest

from service.access import Access
from service.errors import Forbidden, SettingsError, TooManyRequests, Unauthenticated
from tests.service.fakes import FakeClock

FILE = """
# the team
sk-alice-1234 name=alice admin
sk-bob-12345  name=bob max_open=2
sk-carol-1234
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(FILE)
    return path


def test_without_keys_everybody_may() -> None:
    access = Access()
    assert access.is_open
    for header in (None, "", "Bearer whatever"):
        assert access.key(header).is_admin


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer sk-nobody-1",
        "Basic sk-alice-1234",
        "sk-alice-1234",
        "Bearer sk-alice-123",
        "Bearer sk-alice-12345",
        "Bearer sk-alice-1234 name=alice",
        "Bearer sk-fixed-one,sk-fixed-two",
        "Bearer " + "x" * 100_000,
        "Bearer \udc80",
    ],
)
def test_who_is_not_let_in(file: Path, header: str | None) -> None:
    with pytest.raises(Unauthenticated) as caught:
        Access("sk-fixed-one,sk-fixed-two", file).key(header)
    assert "sk-" not in str(caught.value)


def test_who_is_let_in(file: Path) -> None:
    access = Access("sk-fixed-one, sk-fixed-two", file)
    for token, name, is_admin in (
        ("sk-fixed-one", None, True),
        ("sk-fixed-two", None, True),
        ("sk-alice-1234", "alice", True),
        ("sk-bob-12345", "bob", False),
        ("sk-carol-1234", None, False),
    ):
        key = access.key(f"Bearer {token}")
        assert key.is_admin == is_admin
        assert name is None or key.name == name
        assert token not in repr(key)


def test_what_each_may(file: Path) -> None:
    access = Access(file=file)
    with pytest.raises(Forbidden), access.admitted("Bearer sk-bob-12345", as_admin=True):
        pass
    with access.admitted("Bearer sk-bob-12345"), access.admitted("Bearer sk-bob-12345"):
        with pytest.raises(TooManyRequests, match="2 requests"), access.admitted("Bearer sk-bob-12345"):
            pass
        with access.admitted("Bearer sk-alice-1234", as_admin=True):
            pass
    with access.admitted("Bearer sk-bob-12345"):
        pass


def test_the_file_is_read_anew_when_it_has_changed(file: Path) -> None:
    clock = FakeClock()
    access = Access(file=file, clock=clock)
    file.write_text("sk-dave-12345 name=dave\n")
    assert access.key("Bearer sk-alice-1234").name == "alice"
    clock.advance(2)
    assert access.key("Bearer sk-dave-12345").name == "dave"
    with pytest.raises(Unauthenticated):
        access.key("Bearer sk-alice-1234")
    for spoilt in ("short\n", None):
        if spoilt is None:
            file.unlink()
        else:
            file.write_text(spoilt)
        clock.advance(2)
        assert access.key("Bearer sk-dave-12345").name == "dave", "a file that is no good changes nothing"


def test_a_file_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# none yet\n")
    with pytest.raises(Unauthenticated):
        Access(file=tmp_path / "keys").key("Bearer anything-at-all")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("short", "line 1: a key has at least 8 characters, not 5"),
        ("\nsk-long-enough max=3", "line 2: 'max=3' is none of"),
        ("sk-long-enough max_open=0", "'max_open=0' is none of"),
        ("sk-long-enough admin=yes", "'admin=yes' is none of"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(SettingsError, match=says):
        Access(file=path)
    with pytest.raises(SettingsError, match="cannot read"):
        Access(file=tmp_path / "none")
