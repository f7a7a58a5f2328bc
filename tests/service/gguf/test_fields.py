from collections.abc import Callable
from typing import Any

import pytest

from service.errors import ModelFileError
from service.gguf import fields

METADATA = {
    "count": 7,
    "theta": 1e4,
    "nan": float("nan"),
    "flag": True,
    "name": "x",
    "names": ["a", "b"],
    "numbers": [1, -2],
    "flags": [True],
}

RIGHT: list[tuple[Callable[..., Any], str, dict[str, Any], Any]] = [
    (fields.integer, "count", {"at_least": 1, "at_most": 7}, 7),
    (fields.number, "theta", {"at_least": 1, "at_most": 1e9}, 1e4),
    (fields.number, "count", {"at_least": 1, "at_most": 1e9}, 7.0),
    (fields.boolean, "flag", {}, True),
    (fields.string, "name", {}, "x"),
    (fields.strings, "names", {}, ["a", "b"]),
    (fields.integers, "numbers", {}, [1, -2]),
]

WRONG: list[tuple[Callable[..., Any], str, dict[str, Any], str]] = [
    (fields.integer, "count", {"at_least": 8, "at_most": 9}, "'count' is '7' \\(int\\); .* a whole number from 8 to 9"),
    (fields.integer, "flag", {"at_least": 0, "at_most": 9}, "'True' \\(bool\\)"),
    (fields.integer, "theta", {"at_least": 0, "at_most": 9}, "whole number"),
    (fields.number, "nan", {"at_least": 0, "at_most": 1}, "'nan' \\(float\\); it has to be a number from 0 to 1"),
    (fields.number, "flag", {"at_least": 0, "at_most": 1}, "bool"),
    (fields.boolean, "count", {}, "a boolean"),
    (fields.string, "names", {}, "an array of 2 \\(list\\); it has to be a string"),
    (fields.strings, "numbers", {}, "an array of strings"),
    (fields.strings, "name", {}, "an array of strings"),
    (fields.integers, "names", {}, "an array of whole numbers"),
    (fields.integers, "flags", {}, "an array of whole numbers"),
]


@pytest.mark.parametrize(("read", "key", "limits", "expected"), RIGHT)
def test_right_values(read: Callable[..., Any], key: str, limits: dict[str, Any], expected: Any) -> None:
    assert read(METADATA, key, **limits) == expected


@pytest.mark.parametrize(("read", "key", "limits", "message"), WRONG)
def test_wrong_values(read: Callable[..., Any], key: str, limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        read(METADATA, key, **limits)


@pytest.mark.parametrize(("read", "key", "limits", "expected"), RIGHT)
def test_absent_values(read: Callable[..., Any], key: str, limits: dict[str, Any], expected: Any) -> None:
    assert read({}, key, None, **limits) is None
    with pytest.raises(ModelFileError, match=f"the metadata key '{key}' is missing"):
        read({}, key, **limits)
