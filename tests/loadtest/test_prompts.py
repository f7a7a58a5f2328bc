"""Where conversations come from: lengths, shared prefixes, files."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from loadtest.conversation import Conversation
from loadtest.errors import BadPrompts
from loadtest.prompts import Lengths, Source, Synthetic, prompt_file, sharegpt_file


def drawn(source: Source, number: int, seed: int = 0) -> list[Conversation]:
    return list(islice(source.conversations(np.random.default_rng(seed)), number))


def test_token_ids_have_exact_lengths_and_bounds() -> None:
    for conversation in drawn(Synthetic(Lengths(37, 5), token_ids=(10, 20)), 20):
        (turn,) = conversation.turns
        assert isinstance(turn.prompt, tuple)
        assert (len(turn.prompt), turn.max_tokens) == (37, 5)
        assert set(turn.prompt) <= set(range(10, 20))


def test_lengths_vary_within_the_ratio() -> None:
    turns = [conversation.turns[0] for conversation in drawn(Synthetic(Lengths(100, 10, 0.5), (0, 9)), 400)]
    inputs, outputs = {len(turn.prompt) for turn in turns}, {turn.max_tokens for turn in turns}
    assert (min(outputs), max(outputs)) == (5, 15)
    assert min(inputs) >= 50
    assert max(inputs) <= 150
    assert len(inputs) > 80


def test_words_are_as_many_as_asked_for() -> None:
    (conversation,) = drawn(Synthetic(Lengths(12, 5), prefix_len=8), 1)
    assert len(str(conversation.turns[0].prompt).split(" ")) == 20


def test_prefixes_are_shared() -> None:
    fronts = [conversation.turns[0].prompt[:30] for conversation in drawn(Synthetic(Lengths(9, 1), (0, 99), 30, 3), 60)]
    assert len(set(fronts)) == 3


def test_only_the_first_turn_has_the_prefix() -> None:
    (conversation,) = drawn(Synthetic(Lengths(4, 1), prefix_len=6, num_turns=3), 1)
    assert [len(str(turn.prompt).split(" ")) for turn in conversation.turns] == [10, 4, 4]


def test_the_seed_decides() -> None:
    source = Synthetic(Lengths(9, 1), (0, 99))
    assert drawn(source, 5, 1) == drawn(source, 5, 1) != drawn(source, 5, 2)


def test_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("one\n\ntwo\n")
    assert [conversation.turns[0].prompt for conversation in drawn(prompt_file(path, 9), 3)] == ["one", "two", "one"]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "recorded"},
        {"role": "user", "content": "and now?"},
    ]
    lines: list[object] = [{"prompt": "text", "max_tokens": 3}, {"prompt": [1, 2, 3]}, {"messages": messages}]
    path.write_text("\n".join(map(json.dumps, lines)))
    text, ids, chat = drawn(prompt_file(path, 9), 3)
    assert (text.turns[0].prompt, text.turns[0].max_tokens) == ("text", 3)
    assert (ids.turns[0].prompt, ids.turns[0].max_tokens) == ((1, 2, 3), 9)
    assert chat.system == "be brief"
    assert [turn.prompt for turn in chat.turns] == ["hello", "and now?"]


SHAREGPT = [
    {"conversations": [{"from": "human", "value": "q1"}, {"from": "gpt", "value": "a" * 40},
                       {"from": "human", "value": "q2"}, {"from": "gpt", "value": "b" * 8}]},
    {"conversations": [{"from": "gpt", "value": "alone"}]},
    {"conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": "x"}]},
    {"id": "empty"},
]  # fmt: skip


def test_sharegpt(tmp_path: Path) -> None:
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps(SHAREGPT))
    (conversation,) = sharegpt_file(path, None, 2).all
    assert [(turn.prompt, turn.max_tokens) for turn in conversation.turns] == [("q1", 10), ("q2", 2)]
    (first_turn,) = sharegpt_file(path, 5).all
    assert [(turn.prompt, turn.max_tokens) for turn in first_turn.turns] == [("q1", 5)]


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '[{"conversations": []}]', '["x"]'])
def test_what_is_no_sharegpt(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sharegpt.json"
    path.write_text(text)
    with pytest.raises(BadPrompts, match=str(path)):
        sharegpt_file(path, None)


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", '{"prompt": 5}', '{"messages": [{"role": "system", "content": ""}]}']
)
def test_what_is_no_prompt(tmp_path: Path, line: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(line)
    with pytest.raises(BadPrompts, match=":1: neither"):
        prompt_file(path, 1)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadPrompts, match="No such file"):
        prompt_file(tmp_path / "absent", 1)


def test_numbers_that_make_no_prompt() -> None:
    for make in (
        lambda: Lengths(0, 1),
        lambda: Lengths(1, 1, 1.0),
        lambda: Synthetic(Lengths(1, 1), (5, 5)),
        lambda: Synthetic(Lengths(1, 1), (0, 5), num_turns=2),
        lambda: Synthetic(Lengths(1, 1), num_prefixes=0),
    ):
        with pytest.raises(BadPrompts):
            make()
