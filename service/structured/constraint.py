"""One output's place in its grammar: an engine's TokenConstraint over an llguidance matcher. Knows no engine."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from service.errors import OutputStuck

if TYPE_CHECKING:
    import llguidance

MAX_SHOWN = 300
"""Characters of llguidance's reason."""


class GrammarConstraint:
    """service.engine.constraint.TokenConstraint says who calls what, and when."""

    def __init__(self, matcher: "llguidance.LLMatcher", param: str) -> None:
        """`param`: the field of the request that asked for it."""
        self._matcher = matcher
        self._param = param

    def fill_mask(self, mask: npt.NDArray[np.uint32]) -> None:
        assert mask.flags.c_contiguous
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        self._check()

    def accept(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)
        self._check()

    def forced(self, most: int) -> list[int]:
        token_ids: list[int] = self._matcher.compute_ff_tokens()
        self._check()
        return token_ids[:most]

    @property
    def is_finished(self) -> bool:
        return self._matcher.is_stopped()

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = " ".join(self._matcher.get_error().split())[:MAX_SHOWN]
            raise OutputStuck(f"the output format cannot be followed any further: {reason}", param=self._param)
