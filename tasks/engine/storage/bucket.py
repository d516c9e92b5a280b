"""A bucket of S3 or Google Cloud Storage as objects, over obstore.

Credentials, region and endpoint come from where the provider's own tools take them: environment, profiles, single
sign-on, instance metadata (botocore and google-auth read them). None is kept here.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from tasks.engine.errors import Unreachable, UserError, install, is_transient
from tasks.engine.storage.objects import BLOBS, Info, within

Result = TypeVar("Result")

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}  # scheme: our extra
AT_ONCE = 16  # requests; a bucket answers each in some 20 ms
PART = 8 << 20  # bytes that one request reads or uploads
# A service that cannot be reached should say so within a minute.
CLIENT: Any = {"connect_timeout": "5s", "read_timeout": "60s", "timeout": "10min"}
RETRY: Any = {"max_retries": 2, "retry_timeout": timedelta(minutes=1)}
CREDENTIALS_LAST = timedelta(minutes=5)  # then botocore is asked again, which renews them in time

_opened_by: int | None = None  # obstore's threads do not survive a fork: a child would hang


class Bucket:
    """The objects below a URL such as ``s3://bucket/prefix``."""

    patience = 1.0

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._scheme, _, rest = self.url.partition("://")
        self._bucket, _, self._prefix = rest.partition("/")
        if self._scheme not in EXTRAS:
            raise UserError(
                f"store: {url} is no place for artifacts", "give a folder, s3://bucket/prefix or gs://bucket/prefix"
            )
        self._client: Any = None

    @property
    def _store(self) -> Any:
        global _opened_by
        if _opened_by not in (None, os.getpid()):
            raise RuntimeError(f"{self.url}: a process that has used a bucket must not be forked; spawn the child")
        if self._client is None:
            try:
                self._client = (_s3 if self._scheme == "s3" else _gcs)(self._bucket, self._prefix or None)
            except ImportError as error:
                raise UserError(
                    f"store: {self.url} needs the library {error.name!r}",
                    install(EXTRAS[self._scheme]),
                ) from None
            _opened_by = os.getpid()
        return self._client

    def read(self, name: str) -> bytes | None:
        with self._explained(f"read {name}"):
            try:
                return bytes(self._store.get(within(name)).bytes())
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return None

    def read_all(self, names: Iterable[str]) -> list[bytes | None]:
        return self._each(self.read, names)

    def write(self, name: str, content: bytes) -> None:
        with self._explained(f"write {name}"):
            self._store.put(within(name), content)

    def create(self, name: str, content: bytes, *, durable: bool = False) -> bool:  # a bucket is always durable
        with self._explained(f"create {name}"):
            from obstore.exceptions import AlreadyExistsError

            try:
                self._store.put(within(name), content, mode="create")
            except AlreadyExistsError:
                return self.read(name) == content  # a request repeated after a lost answer finds its own object
        return True

    def delete(self, name: str) -> None:
        with self._explained(f"delete {name}"), suppress(FileNotFoundError):
            self._store.delete(within(name))

    def glob(self, pattern: str) -> dict[str, Info]:
        literal, star, _ = pattern.partition("*")
        below = literal.rpartition("/")[0]
        found: dict[str, Info] = {}
        with self._explained(f"list {below or 'it'}"):
            for top in [below] if below or not star else self._folders():
                for page in self._store.list(top or None):
                    for each in page:
                        name = each["path"]
                        if name.count("/") == pattern.count("/") and fnmatch(name, pattern):
                            found[name] = _info(each)
        return dict(sorted(found.items()))

    def infos(self, names: Iterable[str]) -> dict[str, Info]:
        def ask(name: str) -> tuple[str, Info | None]:
            try:
                return name, _info(self._store.head(within(name)))
            except FileNotFoundError:
                return name, None

        with self._explained("look for files"):
            return {name: info for name, info in self._each(ask, names) if info}

    def upload(self, files: dict[str, Path]) -> None:
        """Write files, each under its name, replacing what is there."""
        with self._explained("upload files"):
            self._each(lambda each: self._store.put(within(each[0]), each[1], chunk_size=PART), files.items())

    def download(self, files: dict[str, Path]) -> None:
        """Write objects to these paths; raises FileNotFoundError if one is missing."""

        def fetch(each: tuple[str, Path]) -> None:
            with each[1].open("wb") as file:
                shutil.copyfileobj(self._reader(each[0]), file, PART)

        with self._explained("download files"):
            self._each(fetch, files.items())

    def chunks(self, name: str, size: int) -> Iterator[bytes]:
        with self._explained(f"read {name}"):
            reader = self._reader(name)
            while chunk := bytes(reader.read(size)):
                yield chunk

    def identity(self, name: str) -> str:
        return name

    def file_name(self, folder: str, name: str, digest: str) -> str:
        return f"{BLOBS}/{digest[:2]}/{digest}"

    def set_aside(self, folder: str) -> None:
        manifest = f"{folder}/manifest.json"
        self.write(f".flawed/{manifest}", self.read(manifest) or b"")
        self.delete(manifest)

    def _reader(self, name: str) -> Any:
        """The object as a file, read in requests of PART bytes: none lasts longer than the client's timeout."""
        import obstore

        return obstore.open_reader(self._store, within(name), buffer_size=PART)

    def _each(self, function: Callable[[Any], Result], items: Iterable[Any]) -> list[Result]:
        self._store  # noqa: B018  opened once, not by each thread
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(function, items))

    def _folders(self) -> list[str]:
        """The folders at the top, without the hidden ones."""
        return [name for name in self._store.list_with_delimiter()["common_prefixes"] if not name.startswith(".")]

    def _refuse_missing_bucket(self, error: BaseException) -> None:
        """A missing object is an answer; a missing bucket is a mistake."""
        if "NoSuchBucket" in str(error) or "bucket does not exist" in str(error):
            raise UserError(
                f"store: {self.url}: there is no bucket {self._bucket!r}", "create it, or correct `store`"
            ) from None

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turn what obstore raises when a service is away or refuses into a UserError, without any credential."""
        try:
            yield
        except (UserError, RuntimeError):
            raise
        except Exception as error:
            self._refuse_missing_bucket(error)
            if isinstance(error, OSError):
                raise  # of the local disk, or an object that is missing
            what = f"store: cannot {doing} at {self.url}: {_brief(error)}"
            if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError", "DefaultCredentialsError"):
                raise UserError(
                    f"{what} (access denied)",
                    "check the credentials in the environment and that they may list, read, write and delete there",
                ) from error
            kind = Unreachable if _is_transient(error) else UserError
            raise kind(
                what,
                "check the network and the endpoint (AWS_ENDPOINT_URL), then run again: what was finished is kept",
            ) from error


def _s3(bucket: str, prefix: str | None) -> Any:
    """botocore resolves credentials, region, endpoint and certificates, as for every other tool of AWS."""
    import botocore.session
    from obstore.store import S3Store

    session = botocore.session.Session()
    credentials = session.get_credentials()
    if credentials is None:
        raise UserError(
            f"store: s3://{bucket}: access denied: no AWS credentials were found",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE after `aws sso login`",
        )

    def provide() -> Any:
        frozen = credentials.get_frozen_credentials()
        keys = {"access_key_id": frozen.access_key, "secret_access_key": frozen.secret_key, "token": frozen.token}
        return {**keys, "expires_at": datetime.now(UTC) + CREDENTIALS_LAST}

    client = session.create_client("s3", region_name=session.get_config_variable("region") or "us-east-1")
    endpoint, region = client.meta.endpoint_url, client.meta.region_name
    if re.fullmatch(r"https://s3(\.[a-z0-9-]+)?\.amazonaws\.com", endpoint):  # nobody asked for another one
        region = _region(client, bucket) or region
        endpoint = f"https://s3.{region}.amazonaws.com"
    options: Any = {**CLIENT, "allow_http": endpoint.startswith("http://")}
    if bundle := session.get_config_variable("ca_bundle"):
        options["root_certificate"] = Path(bundle).read_bytes()
    return S3Store(
        bucket,
        prefix=prefix,
        region=region,
        endpoint=endpoint,
        credential_provider=provide,
        client_options=options,
        retry_config=RETRY,
    )


def _region(client: Any, bucket: str) -> str | None:
    """Where AWS has the bucket: requests to another region than this are refused. Told even without permission."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    except BotoCoreError:
        return None
    region: str | None = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    return region


def _gcs(bucket: str, prefix: str | None) -> Any:
    import google.auth
    from obstore.auth.google import GoogleCredentialProvider
    from obstore.store import GCSStore

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_write"])
    provider = GoogleCredentialProvider(credentials)
    return GCSStore(bucket, prefix=prefix, credential_provider=provider, client_options=CLIENT, retry_config=RETRY)


def _is_transient(error: BaseException) -> bool:
    """No connection, no answer in time, an answer of 500 or above, or too many requests; obstore has only the text."""
    return is_transient(error) or bool(re.search(r"HTTP error|status code: (5\d\d|429)", str(error)))


def _brief(error: BaseException) -> str:
    """The first paragraph of what obstore says; its debug output follows."""
    text = re.sub(r"\s+", " ", str(error).partition("\n\n")[0]) or type(error).__name__
    return text if len(text) <= 250 else text[:249] + "…"


def _info(each: dict[str, Any]) -> Info:
    return Info(int(each["size"]), each["last_modified"].timestamp(), (each.get("e_tag") or "").strip('"'))
