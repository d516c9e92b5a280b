"""The exceptions that a user is meant to read."""

import difflib
from collections.abc import Iterable

from tasks.engine.redact import redacted


class UserError(Exception):
    """Something that the user can mend: what is wrong, and the remedy.

    The terminal prints it without a traceback and exits with 2; Prefect shows it as the run's state message. What
    libraries say becomes part of it, so that credentials are taken out here.
    """

    def __init__(self, what: str, remedy: str) -> None:
        what, remedy = redacted(what), redacted(remedy)
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n  remedy: {self.remedy}"


class Unreachable(UserError):
    """A hub or a store that is away just now: the one mistake that time may mend. Runs try again, and plans do not.

    `waited`: it was tried again already, in vain.
    """

    waited = False


class WiringError(UserError):
    """A step is called with a config, an input or a part that it does not have. Found before anything runs."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'rows'?`, or all known names where none is near."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
