"""The triplets: whether the files are there, can be read, and begin with a row that is one."""

from collections.abc import Iterator

import orjson

from flows.config import Retrain
from flows.doctor.finding import Finding, bad, gib, note, ok
from flows.sources import triplets
from tasks.data.forms import Malformed, parse
from tasks.data.readers import read_lines
from tasks.engine.errors import UserError


def check(config: Retrain) -> Iterator[Finding]:
    yield _files("data.train", config.data.train)
    if config.data.evaluation:
        yield _files("data.evaluation", config.data.evaluation)
    else:
        yield note("data.evaluation", "none named: a share of the training documents is held back")


def _files(setting: str, source: str) -> Finding:
    try:
        paths = triplets(source).paths
        for path in paths:
            with path.open("rb") as file:
                file.read(1)
        line, row = next(read_lines(paths[0]))
        form = parse(orjson.loads(row)).form
    except UserError as error:
        return bad(setting, error.what, error.remedy)
    except OSError as error:
        return bad(setting, f"{source}: {error.strerror}", "let this user read it: chmod, or another user")
    except StopIteration:
        return bad(setting, f"{paths[0]}: only blank lines", "give at least one row")
    except orjson.JSONDecodeError as error:
        return bad(setting, f"{paths[0].name}:{line}: not JSON: {error}", "write one JSON object per line")
    except Malformed as error:
        return bad(setting, f"{paths[0].name}:{line}: {error.value}", error.remedy)
    size = gib(sum(path.stat().st_size for path in paths))
    files = f"{len(paths)} file{'s' * (len(paths) > 1)}"
    return ok(setting, f"{files}, {size}; the first row is a {form} row (`reground validate {source}` checks all)")
