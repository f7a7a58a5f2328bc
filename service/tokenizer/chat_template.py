"""A conversation to one text, as the model file's own template writes it. Knows no tokens but their names."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateSyntaxError

from service.errors import BadRequest, ModelFileError
from service.gguf import fields
from service.tokenizer.template_budget import Budget, TooExpensiveError, current_budget, tree_size
from service.tokenizer.template_sandbox import BudgetedSandbox
from service.tokenizer.tokenizer import LITERAL_MARK, Tokenizer

MAX_SOURCE_CHARACTERS = 1 << 18
"""Ten times the longest template in use."""

BASE_UNITS = 4 << 20
UNITS_PER_INPUT_CHARACTER = 64
TIME_LIMIT_S = 2.0


class _RefusedError(Exception):
    """The template called raise_exception."""


class ChatTemplate:
    """Renders. The names of special tokens are taken literally where messages hold them: a user cannot end his turn.

    `special_names`: these tokens. `bos`, `eos`: their texts, empty where the model has none. `starts_with_bos`: the
    model wants its begin token even if the template forgets it.
    """

    def __init__(
        self,
        source: str,
        *,
        bos: str = "",
        eos: str = "",
        starts_with_bos: bool = False,
        special_names: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._template = _compile(source, now)
        self.source = source
        self._bos = bos
        self._eos = eos
        self._starts_with_bos = starts_with_bos
        self._clock = clock
        longest_first = sorted(special_names, key=len, reverse=True)
        alternatives = "|".join(map(re.escape, longest_first))
        self._special_name = re.compile(f"(?=(?:{alternatives}))(.)", re.DOTALL) if longest_first else None

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True, **variables: Any
    ) -> str:
        """The prompt, for `Tokenizer.encode(prompt, add_special=False, parse_special=True)`. BadRequest where the
        template refuses the conversation, fails on it or does not come to an end.
        """
        values: dict[str, Any] = {"tools": None, "documents": None} | variables | {"messages": list(messages)}
        values = {name: self._literal(value) for name, value in values.items()}
        values |= {"add_generation_prompt": add_generation_prompt, "bos_token": self._bos, "eos_token": self._eos}
        unit_limit = BASE_UNITS + UNITS_PER_INPUT_CHARACTER * tree_size(values, 1 << 40)
        token = current_budget.set(Budget(unit_limit, TIME_LIMIT_S, self._clock))
        try:
            text = self._template.render(values)
        except _RefusedError as error:
            raise _bad_request(f"refuses this conversation: {error}") from None
        except TooExpensiveError as error:
            raise _bad_request(f"does not come to an end: {error}") from None
        except Exception as error:  # a template is a program: anything can be wrong with it
            raise _bad_request(f"fails on this conversation: {type(error).__name__}: {error}") from None
        finally:
            current_budget.reset(token)
        return self._bos + text if self._starts_with_bos and not text.startswith(self._bos) else text

    def _literal(self, value: Any) -> Any:
        """A copy of the value in which no text holds a special token's name as a whole."""
        if isinstance(value, str):
            return value if self._special_name is None else self._special_name.sub(rf"\1{LITERAL_MARK}", value)
        if isinstance(value, Mapping):
            return {self._literal(key): self._literal(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._literal(item) for item in value]
        return value


def load_chat_template(metadata: Mapping[str, Any], tokenizer: Tokenizer) -> ChatTemplate | None:
    """The template of a model file, None if it has none. ModelFileError if it is no template."""
    source = fields.string(metadata, "tokenizer.chat_template", None)
    if source is None:
        return None
    vocabulary = tokenizer.vocabulary
    return ChatTemplate(
        source,
        bos="" if vocabulary.bos_id is None else vocabulary.tokens[vocabulary.bos_id],
        eos="" if vocabulary.eos_id is None else vocabulary.tokens[vocabulary.eos_id],
        starts_with_bos=tokenizer.add_bos,
        special_names=(vocabulary.tokens[token_id] for token_id in vocabulary.special_ids()),
    )


def _compile(source: str, now: Callable[[], datetime]) -> Template:
    if len(source) > MAX_SOURCE_CHARACTERS:
        raise ModelFileError(f"the chat template has {len(source)} characters; {MAX_SOURCE_CHARACTERS} are supported")
    sandbox = BudgetedSandbox()
    sandbox.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda pattern: now().strftime(pattern),
    }
    try:
        return sandbox.from_string(source)
    except TemplateSyntaxError as error:
        problem = f"{error.message} (line {error.lineno})"
    except RecursionError:
        problem = "it is nested too deeply"
    except Exception as error:  # jinja2 writes Python, and Python may refuse to compile it
        problem = f"{type(error).__name__}: {error}"
    raise ModelFileError(f"the chat template cannot be compiled: {_one_line(problem)}")


def _raise_exception(message: Any) -> NoReturn:
    raise _RefusedError(str(message))


def _bad_request(problem: str) -> BadRequest:
    return BadRequest(f"the model's chat template {_one_line(problem)}", param="messages")


def _one_line(text: str, max_characters: int = 300) -> str:
    return " ".join(text[:max_characters].replace(LITERAL_MARK, "").split())
