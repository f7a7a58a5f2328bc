"""Every way the load test says no to its user."""


class LoadtestError(Exception):
    """One line for the user."""


class Unreachable(LoadtestError):
    """The server does not answer, or not in time."""


class BadPrompts(LoadtestError):
    """A prompt file that cannot be read as what it should be."""


class BadLoad(LoadtestError):
    """Numbers that describe no load."""


class RequestFailed(LoadtestError):
    """One request came to nothing. `label` is short and the same for the same cause, to be counted."""

    def __init__(self, label: str, detail: str = "") -> None:
        super().__init__(f"{label}: {detail}" if detail else label)
        self.label = label
