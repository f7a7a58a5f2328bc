"""Requests that were refused, by reason: the `code` of the error. Knows no face: all of them count here."""

from prometheus_client import CollectorRegistry, Counter

from service.errors import GemmuleError


class Rejections:
    """Reasons are the codes of the error tree, which are few and ours: no client can make one up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter(
            "gemmule_rejections",
            "Requests refused before any token was computed, by the code that their client was given.",
            ["reason"],
            registry=registry,
        )
        self._reasons = _codes(GemmuleError)
        for reason in self._reasons:
            self._counter.labels(reason)

    def count(self, error: GemmuleError) -> None:
        if error.code in self._reasons:  # else it failed later
            self._counter.labels(error.code).inc()


def _codes(root: type[GemmuleError]) -> set[str]:
    """Those that refuse a request: not what fails it later, nor what fails a start."""
    codes = {root.code} if root.status < 500 or root.status == 503 else set()
    return codes.union(*(_codes(child) for child in root.__subclasses__()))
