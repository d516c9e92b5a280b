"""Keep credentials out of what people read: messages, logs, records."""

import os
import re

CREDENTIALS = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")  # user:password of a URL
IN_QUERY = re.compile(r"(?<=[?&])([\w-]*(?:key|token|secret|password|signature)[\w-]*=)[^&\s'\"]+", re.IGNORECASE)
SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|AUTH_STRING|CONNECTION_URL)$")
SHORTEST = 8  # characters; a shorter value is none, and would blot out words


def redacted(text: str) -> str:
    """The text without a URL's user, password and keys, and without the value of any variable that holds a secret."""
    text = IN_QUERY.sub(r"\1…", CREDENTIALS.sub("…", text))
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and SECRET.search(name):
            text = text.replace(value, "…")
    return text
