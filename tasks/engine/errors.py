"""The exceptions that a user is meant to read, without credentials, and which errors may go away by themselves."""

import difflib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

NOT_IN_KEY = "an error ends a step, and nothing is published then"

CREDENTIALS = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")  # user:password of a URL
IN_QUERY = re.compile(r"(?<=[?&])([\w-]*(?:key|token|secret|password|signature)[\w-]*=)[^&\s'\"]+", re.IGNORECASE)
SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|AUTH_STRING|CONNECTION_URL)$")
SHORTEST = 8  # characters; a shorter value is none, and would blot out words

# Names of exception classes, because botocore, aiohttp, httpx, requests and the hub's client each have their own, and
# none of them is to be imported for the question.
TRANSIENT = {
    *("ConnectionError", "TimeoutError", "gaierror"),  # Python's own; requests and botocore have a ConnectionError, too
    "HTTPClientError",  # botocore: connection closed, read timeout
    *("ClientConnectionError", "ClientPayloadError"),  # aiohttp
    "TransportError",  # httpx
    "Timeout",  # requests
}
BY_CHOICE = {"OfflineModeIsEnabled"}  # HF_HUB_OFFLINE: no time will mend it
TOO_MANY = 429

FULL = (
    "no space left on the disk (nothing that was published is damaged)",
    "free some space (`reground gc --delete`) or set `store` to a larger disk; then run again: finished steps and "
    "checkpoints are kept",
)
CLOSED = ("this user may not read or write there", "give it the right to (chown, chmod), or name another place")
UNWRITABLE = {  # what is wrong, and the remedy
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: ("the disk is read-only", "set `store`, and `cache` if it is there, to a folder that can be written"),
    errno.EACCES: CLOSED,
    errno.EPERM: CLOSED,
    errno.ENOTDIR: ("a part of this path is a file, no folder", "name another place"),
}
FULL_BY_TORCH = re.compile("PytorchStreamWriter failed writing|unexpected pos ")  # it names no reason


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
    """A hub or a store that cannot be reached now, and may be later. Runs try again, and plans do not.

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


def install(extra: str) -> str:
    """How to install the libraries of an extra."""
    return f"`make install EXTRAS={extra}` in a checkout, else pip install 'reground[{extra}]'"


def redacted(text: str) -> str:
    """The text without a URL's user, password and keys, and without the value of any variable that holds a secret."""
    text = IN_QUERY.sub(r"\1…", CREDENTIALS.sub("…", text))
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and SECRET.search(name):
            text = text.replace(value, "…")
    return text


def is_transient(error: BaseException) -> bool:
    """No connection, no answer in time, an answer of 500 or above, or too many requests."""
    causes = list(_causes(error))
    if any(type(each).__name__ in BY_CHOICE for each in causes):
        return False
    status = status_of(error)
    failing = status is not None and (status >= 500 or status == TOO_MANY)
    return failing or any(_names(each) & TRANSIENT for each in causes)


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error, or what it was raised from, tells of, if any."""
    return next((found for each in _causes(error) if (found := _status(each)) is not None), None)


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(response, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    return found if isinstance(found, int) else None


def _names(error: BaseException) -> set[str]:
    return {each.__name__ for each in type(error).__mro__}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


@contextmanager
def disk_explained(place: object = None) -> Iterator[None]:
    """Turn what any library raises on a disk that is full, read-only or closed to this user into a UserError.

    `place` is named where the error names no file.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if known := _unwritable(error):
            what, remedy = known
            where = getattr(error, "filename", None) or place
            raise UserError(f"{where}: {what}" if where else what, remedy) from error
        raise


def _unwritable(error: Exception) -> tuple[str, str] | None:
    """By the error's number; of a full disk libraries in other languages pass on the system's words alone."""
    if isinstance(error, OSError) and error.errno is not None:
        known = UNWRITABLE.get(error.errno)
        return None if known is CLOSED and not error.filename else known  # not of a file, but of a process, say
    return FULL if os.strerror(errno.ENOSPC) in str(error) or FULL_BY_TORCH.search(str(error)) else None
