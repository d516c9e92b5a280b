"""`reground doctor` of the Prefect server that is configured: reachable, of this version, open to us, what it holds."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flows.config import Retrain
from flows.doctor.findings import Finding, bad, note, ok, ok_if
from flows.orchestration.service.state import stated
from tasks.engine.errors import redacted

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

UP = "`reground up`, or `prefect deploy --all` and `prefect worker start`"
WAIT = 5.0  # seconds that a request may take
LOOPBACK = ("127.0.0.1", "localhost", "::1")


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
    yield from _server(url, config.project)


def _server(url: str, project: str) -> Iterator[Finding]:
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
        yield from _deployments(client, project)
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


def _deployments(client: "SyncPrefectClient", project: str) -> Iterator[Finding]:
    from flows.orchestration.service.apply import deployments

    flows = {flow.id: flow.name for flow in client.read_flows()}
    found = {f"{flows.get(each.flow_id)}/{each.name}": each for each in client.read_deployments()}
    missing = [f"{flow}/{flow}" for flow in deployments() if not found.keys() & {f"{flow}/{flow}", f"{flow}/{project}"}]
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
