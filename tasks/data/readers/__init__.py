"""From files of JSON lines to triplets: which files, which lines, which form a row has."""

from tasks.data.readers.files import expand, read_lines
from tasks.data.readers.forms import Malformed, Parsed, parse

__all__ = ["Malformed", "Parsed", "expand", "parse", "read_lines"]
