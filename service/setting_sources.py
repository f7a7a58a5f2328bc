"""Raw values of settings, from a TOML file and from the environment. Knows their names, not what they mean."""

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from service.errors import SettingsError

ENV_PREFIX = "GEMMULE_"

# Kubernetes gives every container variables for each Service of its namespace; one called "gemmule" would
# otherwise make the pods it selects fail at start.
_KUBERNETES_LINK = re.compile(r"(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP)(_ADDR|_PORT|_PROTO)?)")


def from_file(path: Path, known: Collection[str]) -> dict[str, object]:
    """A TOML table of settings, by their names. SettingsError with one line."""
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read the settings in {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    for name in values:
        if name not in known:
            raise SettingsError(f"{path}: {unknown(name, known)}")
    return values


def from_environment(environ: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """GEMMULE_* variables that are set and not empty. SettingsError with one line."""
    values: dict[str, str] = {}
    for key, value in environ.items():
        if not key.startswith(ENV_PREFIX):
            continue
        rest = key.removeprefix(ENV_PREFIX)
        if _KUBERNETES_LINK.fullmatch(rest) or (rest == "PORT" and "://" in value):
            continue
        name = rest.lower()
        if name not in known or rest != rest.upper():
            raise SettingsError(unknown(key, [ENV_PREFIX + name.upper() for name in known]))
        if value != "":  # an empty variable is one that is not set
            values[name] = value
    return values


def unknown(name: str, known: Collection[str]) -> str:
    """What to say of a name that is none of these."""
    by_lower = {own.lower(): own for own in known}
    nearest = by_lower[difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.0)[0]]
    return f"unknown setting {name}; the nearest known one is {nearest}"
