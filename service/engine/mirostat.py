"""What a request of mirostat 2 remembers: the surprise that its next token may have at most. Knows no step."""

from service.engine.request import MirostatParams


class Mirostat:
    """One request's, from token to token (Basu et al. 2021, algorithm 2)."""

    def __init__(self, params: MirostatParams) -> None:
        self._params = params
        self.mu = 2 * params.tau
        """Bits."""

    def observe(self, surprise: float) -> None:
        """Of the token that was drawn, in bits."""
        self.mu -= self._params.eta * (surprise - self._params.tau)
