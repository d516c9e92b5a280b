"""Whether a service is away just now, so that trying again may help; told from what its libraries raise.

By the names of their classes: botocore, aiohttp, httpx, requests and the hub's client each have their own, and none of
them is to be imported for the question.
"""

from collections.abc import Iterator
from typing import Any

AWAY = {
    *("ConnectionError", "TimeoutError", "gaierror"),  # Python's own; requests and botocore have a ConnectionError, too
    "HTTPClientError",  # botocore: connection closed, read timeout
    *("ClientConnectionError", "ClientPayloadError"),  # aiohttp
    "TransportError",  # httpx
    "Timeout",  # requests
}
BY_CHOICE = {"OfflineModeIsEnabled"}  # HF_HUB_OFFLINE: no time will mend it
TOO_MANY = 429


def is_away(error: BaseException) -> bool:
    """No connection, no answer in time, an answer of 500 or above, or too many requests."""
    causes = list(_causes(error))
    if any(type(each).__name__ in BY_CHOICE for each in causes):
        return False
    status = status_of(error)
    failing = status is not None and (status >= 500 or status == TOO_MANY)
    return failing or any(_names(each) & AWAY for each in causes)


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
