"""The Prefect server that is configured: reachable, of this version, open to us, with pools, workers, deployments."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flows.config import Retrain
from flows.doctor.finding import Finding, bad, note, ok
from tasks.engine.errors import redacted

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POOLS = {"reground-gpu": "retrainings", "reground-desk": "promotions and maintenance"}
DEPLOYMENTS = ("retrain/retrain", "promote/promote", "rollback/rollback", "refresh/refresh", "maintain/maintain")
UP = "`reground up`, or `prefect deploy --all` and `prefect worker start`"
WAIT = 5.0  # seconds that a request may take
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check(config: Retrain) -> Iterator[Finding]:
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if not api.url:
        yield note("server", "none configured: a run uses one of its own", "for schedules and the UI: `reground up`")
        return
    url = redacted(str(api.url))
    parts = urlsplit(str(api.url))
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        yield note("transport", f"{url} is not encrypted, and not on this machine", "put TLS before the server")
    if parts.hostname not in LOOPBACK and not (api.auth_string or api.key):
        remedy = "set PREFECT_SERVER_API_AUTH_STRING on it, and PREFECT_API_AUTH_STRING here"
        yield note("authentication", "none is configured for a server on another machine", remedy)
    yield from _asked(url)


def _asked(url: str) -> Iterator[Finding]:
    import httpx
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
            said = f"{url} cannot be reached: {redacted(str(error)) or type(error).__name__}"
            yield bad("server", said, "start it (`reground up`), mend PREFECT_API_URL, or unset it to run without one")
            return
        yield _version(url, theirs)
        yield from _pools(client)
        yield from _deployments(client)
        yield from _limits(client)


def _version(url: str, theirs: str) -> Finding:
    """A newer client sends what an older server refuses (PrefectHQ/prefect#16183)."""
    from packaging.version import Version
    from prefect import __version__ as ours

    value = f"{url}, version {theirs}" + (f"; here {ours}" if theirs != ours else "")
    return (
        bad("server", value, "upgrade the server before its clients")
        if Version(theirs) < Version(ours)
        else ok("server", value)
    )


def _pools(client: "SyncPrefectClient") -> Iterator[Finding]:
    there = {pool.name: pool for pool in client.read_work_pools()}
    for name, what in POOLS.items():
        if name not in there:
            yield note(f"pool {name}", "not there", f"for {what}: {UP}")
            continue
        pool = there[name]
        online = [w.name for w in client.read_workers_for_work_pool(name) if str(w.status).upper().endswith("ONLINE")]
        limit = f"limit {pool.concurrency_limit}" if pool.concurrency_limit is not None else "no limit"
        value = f"{pool.type}, {limit}, {len(online)} worker{'s' * (len(online) != 1)} online"
        if pool.is_paused:
            yield note(f"pool {name}", f"{value}, paused", f"prefect work-pool resume {name}")
        elif not online:
            yield note(f"pool {name}", value, f"runs wait until one is: prefect worker start --pool {name}")
        else:
            yield ok(f"pool {name}", value)


def _deployments(client: "SyncPrefectClient") -> Iterator[Finding]:
    flows = {flow.id: flow.name for flow in client.read_flows()}
    there = {f"{flows.get(each.flow_id)}/{each.name}": each for each in client.read_deployments()}
    missing = [name for name in DEPLOYMENTS if name not in there]
    if missing:
        yield note("deployments", f"missing: {', '.join(missing)}", "`reground up`, or `prefect deploy --all`")
    else:
        yield ok("deployments", ", ".join(DEPLOYMENTS))
    limited = [name for name, each in there.items() if each.global_concurrency_limit]
    if limited and _leases_in_memory(client):
        yield note(
            "leases",
            f"{', '.join(limited)}: limited, and a restart of the server loses the leases: what runs ends Crashed",
            "limit the work pool instead, or set PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE="
            "prefect.server.concurrency.lease_storage.filesystem on the server",
        )


def _leases_in_memory(client: "SyncPrefectClient") -> bool:
    told: Any = client.request("GET", "/admin/settings").json()
    return str(told["server"]["concurrency"]["lease_storage"]).endswith(".memory")


def _limits(client: "SyncPrefectClient") -> Iterator[Finding]:
    """A limit that is not there is skipped without a word, by all but `strict=True`."""
    there = client.read_global_concurrency_limits(limit=50)
    told = ", ".join(f"{each.name} {each.active_slots}/{each.limit}" for each in there)
    yield ok("concurrency limits", told or "none but the pools' own")
