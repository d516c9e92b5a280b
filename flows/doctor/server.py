"""What runs share: the store, and the Prefect server that is configured."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flows.config import Retrain
from flows.doctor.findings import Finding, bad, note, ok, ok_if
from flows.doctor.machine import existing
from flows.orchestration.service.state import stated
from tasks.engine.errors import redacted
from tasks.engine.storage.objects import require_exclusive_create

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

UP = "`reground up`, or `prefect deploy --all` and `prefect worker start`"
WAIT = 5.0  # seconds that a request may take
LOOPBACK = ("127.0.0.1", "localhost", "::1")


# The store: whether artifacts can be written there, and whether two runs could agree there who computes what


def store(config: Retrain) -> Iterator[Finding]:
    folder = None if "://" in config.store else Path(config.store).expanduser().absolute()
    if folder and existing(folder) != folder:
        yield _not_made(folder, existing(folder))
        return
    opened = config.open_store()
    try:
        require_exclusive_create(opened.objects)  # writes, reads and deletes a small object
    except OSError as error:
        value = f"{opened.url} is not writable: {error.strerror}"
        yield bad("store", value, "let this user write there, or name another")
        return
    if folder and not _has_links(folder):
        value = f"{opened.url}: writable, without hard links"
        yield note("store", value, "artifacts that share a file hold a copy each")
    else:
        yield ok("store", f"{opened.url}: writable" + ("" if folder else ", with conditional writes"))


def _not_made(folder: Path, above: Path) -> Finding:
    """A store that does not exist yet: whether this user can make it in the nearest folder `above`."""
    first = above / folder.relative_to(above).parts[0]
    if first.exists():
        return bad("store", f"{first} is not a folder", "name another")
    if os.access(above, os.W_OK | os.X_OK):
        return ok("store", f"{folder} does not exist yet, and can be made")
    return bad(
        "store", f"{folder} does not exist, and this user may not make it in {above}", "make it, or name another"
    )


def _has_links(folder: Path) -> bool:
    with TemporaryDirectory(dir=folder, prefix=".probe-") as name:
        (file := Path(name) / "file").touch()
        try:
            os.link(file, file.with_name("link"))
        except OSError:
            return False
        return True


# The Prefect server: reachable, of this version, open to us, with pools, workers, deployments


def prefect(config: Retrain) -> Iterator[Finding]:
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if not api.url:
        yield note("server", "none configured: a run uses one of its own", "for schedules and the UI: `reground up`")
        return
    url, parts = redacted(str(api.url)), urlsplit(str(api.url))
    is_remote = parts.hostname not in LOOPBACK
    if is_remote and parts.scheme == "http":
        yield note("transport", f"{url} is not encrypted, and not on this machine", "put TLS before the server")
    if is_remote and not (api.auth_string or api.key):
        remedy = "set PREFECT_SERVER_API_AUTH_STRING on it, and PREFECT_API_AUTH_STRING here"
        yield note("authentication", "none is configured for a server on another machine", remedy)
    yield from _server(url)


def _server(url: str) -> Iterator[Finding]:
    import httpx
    from packaging.version import Version
    from prefect import __version__ as ours
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True, httpx_settings={"timeout": WAIT}) as client:
        try:
            theirs = client.api_version()
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            remedy = "set PREFECT_API_AUTH_STRING to the server's" if status in (401, 403) else "see the server's log"
            yield bad("server", f"{url} answers {status}", remedy)
            return
        except (httpx.HTTPError, OSError) as error:
            value = f"{url} cannot be reached: {redacted(str(error)) or type(error).__name__}"
            yield bad("server", value, "start it (`reground up`), correct PREFECT_API_URL, or unset it to run without")
            return
        value = f"{url}, version {theirs}" + (f"; here {ours}" if theirs != ours else "")
        if Version(theirs) < Version(ours):  # a newer client sends what an older server refuses (prefect#16183)
            yield bad("server", value, "upgrade the server before its clients")
        else:
            yield ok("server", value)
        yield from _pools(client)
        yield from _deployments(client)
        limits = client.read_global_concurrency_limits(limit=50)
        value = ", ".join(f"{each.name} {each.active_slots}/{each.limit}" for each in limits)
        yield ok("concurrency limits", value or "none but the pools' own")


def _pools(client: "SyncPrefectClient") -> Iterator[Finding]:
    found = {pool.name: pool for pool in client.read_work_pools()}
    for name in stated()["pools"]:
        what = f"pool {name}"
        if name not in found:
            yield note(what, "does not exist", UP)
            continue
        pool = found[name]
        online = [w.name for w in client.read_workers_for_work_pool(name) if str(w.status).upper().endswith("ONLINE")]
        limit = f"limit {pool.concurrency_limit}" if pool.concurrency_limit is not None else "no limit"
        value = f"{pool.type}, {limit}, {len(online)} worker{'s' * (len(online) != 1)} online"
        if pool.is_paused:
            yield note(what, f"{value}, paused", f"prefect work-pool resume {name}")
        else:
            remedy = f"runs wait until one is: prefect worker start --pool {name}"
            yield ok_if(bool(online), what, value, remedy)


def _deployments(client: "SyncPrefectClient") -> Iterator[Finding]:
    from flows.orchestration.service.apply import deployments

    flows = {flow.id: flow.name for flow in client.read_flows()}
    found = {f"{flows.get(each.flow_id)}/{each.name}": each for each in client.read_deployments()}
    missing = [name for name in deployments() if name not in found]
    value = f"missing: {', '.join(missing)}" if missing else ", ".join(deployments())
    yield ok_if(not missing, "deployments", value, UP)
    limited = [name for name, each in found.items() if each.global_concurrency_limit]
    settings: Any = client.request("GET", "/admin/settings").json() if limited else None
    if limited and str(settings["server"]["concurrency"]["lease_storage"]).endswith(".memory"):
        yield note(
            "leases",
            f"{', '.join(limited)}: limited, and a restart of the server loses the leases: what runs ends Crashed",
            "limit the work pool instead, or set PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE="
            "prefect.server.concurrency.lease_storage.filesystem on the server",
        )
