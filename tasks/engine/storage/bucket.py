"""A bucket of S3 or Google Cloud Storage: objects, and files to and fro, over fsspec.

Credentials, region and endpoint come from where the provider's own tools take them (`AWS_…`, `AWS_ENDPOINT_URL`,
`GOOGLE_APPLICATION_CREDENTIALS`); none is read or kept here.
"""

import errno
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from tasks.engine.errors import Unreachable, UserError
from tasks.engine.retry import is_away
from tasks.engine.storage.objects import Info, within

Result = TypeVar("Result")

EXTRAS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}  # scheme: (library, our extra)
AT_ONCE = 16  # requests; a bucket answers each in some 20 ms
# Listings of an earlier second are of no use where others write. An unreachable endpoint should say so within a minute.
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 5,
            "read_timeout": 60,
            "retries": {"max_attempts": 2},
            "max_pool_connections": AT_ONCE,
        }
    },
}
READ = {"s3": {"max_concurrency": 1}}  # else s3fs asks for the size before it asks for the content


class Bucket:
    """The objects below a URL such as ``s3://bucket/prefix``."""

    patience = 1.0

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._scheme, _, self._root = self.url.partition("://")
        if self._scheme not in EXTRAS:
            raise UserError(
                f"store: {url} is no place for artifacts", "give a folder, s3://bucket/prefix or gs://bucket/prefix"
            )
        self._file_system: Any = None
        self._process = 0  # that opened it: its event loop does not survive a fork

    @property
    def _fs(self) -> Any:
        if self._process != os.getpid():
            library, extra = EXTRAS[self._scheme]
            try:
                import fsspec

                make = fsspec.get_filesystem_class(self._scheme)
            except ImportError:
                raise UserError(
                    f"store: {self.url} needs the library {library!r}", f"pip install 'reground[{extra}]'"
                ) from None
            self._file_system = make(
                use_listings_cache=False, skip_instance_cache=True, **OPTIONS.get(self._scheme, {})
            )
            self._process = os.getpid()
        return self._file_system

    def _at(self, name: str) -> str:
        return f"{self._root}/{within(name)}"

    def read(self, name: str) -> bytes | None:
        with self._explained(f"read {name}"):
            try:
                content: bytes = self._fs.cat_file(self._at(name), **READ.get(self._scheme, {}))
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return None
            return content

    def read_all(self, names: Iterable[str]) -> list[bytes | None]:
        return self._each(self.read, names)

    def write(self, name: str, content: bytes) -> None:
        with self._explained(f"write {name}"):
            try:
                self._fs.pipe_file(self._at(name), content)
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error, written=True)

    def create(self, name: str, content: bytes, *, durable: bool = False) -> bool:  # as all in a bucket is
        with self._explained(f"create {name}"):
            try:
                self._fs.pipe_file(self._at(name), content, mode="create")
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error, written=True)
            except Exception as error:
                if not _is_taken(error):
                    raise
                # A request that is repeated after a lost answer finds its own object.
                return self.read(name) == content
        return True

    def delete(self, name: str) -> None:
        with self._explained(f"delete {name}"), suppress(FileNotFoundError):
            self._fs.rm_file(self._at(name))

    def glob(self, pattern: str) -> dict[str, Info]:
        literal, star, _ = pattern.partition("*")
        below = literal.rpartition("/")[0]
        with self._explained(f"list {below or 'it'}"):
            tops = [below] if below or not star else self._folders()
            found: dict[str, Info] = {}
            for top in tops:
                for path, told in self._list(top).items():
                    name = path.removeprefix(self._root + "/")
                    if name.count("/") == pattern.count("/") and fnmatch(name, pattern):
                        found[name] = _info(told)
        return dict(sorted(found.items()))

    def infos(self, names: Iterable[str]) -> dict[str, Info]:
        """Of these objects, those that there are."""

        def ask(name: str) -> tuple[str, Info | None]:
            try:
                return name, _info(self._fs.info(self._at(name)))
            except FileNotFoundError:
                return name, None

        with self._explained("look for files"):
            return {name: info for name, info in self._each(ask, names) if info}

    def upload(self, files: dict[str, Path]) -> None:
        """Put files, each under its name, replacing what is there."""
        with self._explained("upload files"):
            self._each(lambda each: self._fs.put_file(str(each[1]), self._at(each[0])), files.items())

    def download(self, files: dict[str, Path]) -> None:
        """Write objects to these paths; raises FileNotFoundError if one is missing."""
        with self._explained("download files"):
            self._each(lambda each: self._fs.get_file(self._at(each[0]), str(each[1])), files.items())

    def chunks(self, name: str, size: int) -> Iterator[bytes]:
        """The object's content in pieces of `size` bytes."""
        with self._explained(f"read {name}"), self._fs.open(self._at(name), "rb", block_size=8 * size) as file:
            while chunk := file.read(size):
                yield chunk

    def require_exclusive_create(self) -> None:
        """Refuse a service that ignores the condition of `create`, for then two would hold one lease."""
        name = f".leases/.probe-{secrets.token_hex(8)}"
        try:
            if self.create(name, b"first") and self.create(name, b"second"):
                raise UserError(
                    f"{self.url} does not honour conditional writes, so runs there cannot agree who computes what",
                    "use one that does: AWS S3, Google Cloud Storage, or a MinIO of 2024 or later",
                )
        finally:
            self.delete(name)

    def _each(self, function: Callable[[Any], Result], items: Iterable[Any]) -> list[Result]:
        self._fs  # noqa: B018  opened once, not by each thread
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(function, items))

    def _folders(self) -> list[str]:
        """The folders at the top, without the hidden ones."""
        try:
            listed = self._fs.ls(self._root, detail=True)
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return []
        names = (each["name"].rstrip("/").rpartition("/")[2] for each in listed if each["type"] == "directory")
        return [name for name in names if not name.startswith(".")]

    def _list(self, below: str) -> dict[str, dict[str, Any]]:
        try:
            listed: dict[str, dict[str, Any]] = self._fs.find(f"{self._root}/{below}", detail=True)
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            return {}
        return listed

    def _refuse_missing_bucket(self, error: BaseException, *, written: bool = False) -> None:
        """A missing object is an answer; a missing bucket is a mistake. Google tells it by refusing what is written."""
        if written or _code(error) == "NoSuchBucket":
            name = self._root.partition("/")[0]
            raise UserError(f"store: {self.url}: there is no bucket {name!r}", "make it, or correct `store`") from None

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turn what the libraries raise when a service is away or refuses into words, without any credential."""
        try:
            yield
        except UserError:
            raise
        except FileNotFoundError as error:
            self._refuse_missing_bucket(error)
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # the local disk's
            what = f"store: cannot {doing} at {self.url}"
            if _is_denied(error):
                raise UserError(
                    f"{what}: access denied ({_brief(error)})",
                    "check the credentials in the environment and that they may list, read, write and delete there",
                ) from error
            kind = Unreachable if is_away(error) else UserError
            raise kind(
                f"{what}: {_brief(error)}",
                "check the network and the endpoint (AWS_ENDPOINT_URL), then run again: what was finished is kept",
            ) from error


def _code(error: BaseException) -> str:
    """The service's own code for an error, such as AccessDenied; empty if there is none."""
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
    return str(response["Error"].get("Code", "")) if isinstance(response, dict) and "Error" in response else ""


def _is_taken(error: BaseException) -> bool:
    """Whether an exclusive create lost. 409: another is being made just now; MinIO names no condition in its 412."""
    return isinstance(error, FileExistsError) or _code(error) in ("PreconditionFailed", "ConditionalRequestConflict")


def _is_denied(error: BaseException) -> bool:
    named = type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")
    return named or isinstance(error, PermissionError) or "Forbidden" in str(error) or _code(error) == "AccessDenied"


def _brief(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error)) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def _info(told: dict[str, Any]) -> Info:
    """What s3fs (LastModified, ETag) and gcsfs (mtime, md5Hash) tell, alike."""
    when = told.get("LastModified") or told.get("mtime")
    tag = str(told.get("ETag", "")).strip('"')
    if "md5Hash" in told:
        from base64 import b64decode

        tag = b64decode(told["md5Hash"]).hex()
    return Info(int(told["size"]), when.timestamp() if isinstance(when, datetime) else 0.0, tag)
