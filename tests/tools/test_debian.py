"""Which mirrors apt's list of addresses names."""

import pytest

from tools.arm.debian import mirrors_in

LISTED = """\
'http://mirror.example/debian/dists/bookworm/InRelease' mirror.example_debian_dists_bookworm_InRelease 0
'http://mirror.example/debian/dists/bookworm-updates/InRelease' x 0
'http://mirror.example/debian-security/dists/bookworm-security/InRelease' x 0
'https://other.example/node/dists/nodistro/InRelease' x 0
'mirror+file:/etc/apt/mirrors/debian.list/dists/trixie/InRelease' x 0
'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0
"""


def test_mirrors_of_debian_only_and_once() -> None:
    assert mirrors_in(LISTED + LISTED) == ["http://mirror.example/debian", "mirror+file:/etc/apt/mirrors/debian.list"]


@pytest.mark.parametrize("listed", ["", "E: Could not open the lists\n"])
def test_none(listed: str) -> None:
    assert mirrors_in(listed) == []
