"""A bucket for fsspec that fails: full, read-only, unreachable, or with an error of your choice.

    with FaultyBucket() as bucket:
        frame.to_parquet(f"{bucket.url}/flights.parquet")
        with bucket.full():
            ...  # writing raises OSError: no space left on device
        with bucket.away():
            ...  # everything raises ConnectionError

What opens URLs by fsspec can use it: pandas, Prefect's results, this library's quarantine. The files are in
`bucket.folder`, a folder of this machine. Only this process knows the bucket.
"""

from __future__ import annotations

import errno
import fnmatch
import functools
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters.arguments import answering

if TYPE_CHECKING:
    from types import TracebackType

PROTOCOL = "faulty"
Access: TypeAlias = Literal["read", "write"]
_READS = ("cat", "cat_file", "cat_ranges", "exists", "find", "get", "get_file", "glob", "info", "isdir", "isfile", "ls")
_WRITES = ("copy", "cp_file", "makedirs", "mkdir", "mv", "pipe", "pipe_file", "rm", "rm_file", "rmdir", "touch")

_numbers = itertools.count(1)


class FaultyBucket:
    """A bucket that works until it is asked to fail.

    Attributes:
        url: Its address, such as `faulty://bucket-1`.
        folder: The folder with its files.
    """

    def __init__(self) -> None:
        """Create an empty bucket; a with statement deletes it at its end."""
        _register()
        name = f"bucket-{next(_numbers)}"
        self.url: str = f"{PROTOCOL}://{name}"
        self.folder: Path = _root() / name
        self.folder.mkdir()
        self._faults: list[Callable[[str, Access], BaseException | None]] = []
        self._lock = threading.RLock()
        _buckets[name] = self

    def __enter__(self) -> Self:
        """Return the bucket."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the bucket and its files."""
        _buckets.pop(self.folder.name, None)
        shutil.rmtree(self.folder, ignore_errors=True)

    @answering('bucket.fail(PermissionError("denied"))')
    def fail(
        self, error: BaseException, times: int = 1, *, access: Access | None = None, path: str | None = None
    ) -> None:
        """Raise an error from the next accesses.

        Args:
            error: The error.
            times: The number of accesses that it meets.
            access: `"read"` or `"write"`; None: both.
            path: Only accesses to this path below the bucket, exact or as a shell pattern such as `2013/*`.

        Raises:
            PolicyError: `error` is no error, `times` no number, or `access` neither of these.
        """
        if not isinstance(error, BaseException):
            raise PolicyError(f"fail(error) takes an error such as PermissionError('denied'), not {error!r}")
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            raise PolicyError(f"fail(times=...) is a number of accesses, not {times!r}: write times=2")
        if access not in (None, *get_args(Access)):
            raise PolicyError(f'fail(access=...) is "read" or "write", not {access!r}')
        left = itertools.repeat(error, times)

        def choose(at: str, how: Access) -> BaseException | None:
            is_meant = access in (None, how) and (path is None or fnmatch.fnmatchcase(at, path))
            return next(left, None) if is_meant else None

        self._faults.append(choose)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let files be created, but raise `OSError` (no space left on device) from every write to them."""
        with self._failing(lambda _, access: _no_space() if access == "write" else None):
            yield

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Raise `PermissionError` from every write, for the length of a with block."""
        with self._failing(lambda at, access: _denied(at) if access == "write" else None):
            yield

    @contextmanager
    def away(self) -> Iterator[None]:
        """Raise `ConnectionError` from every access, for the length of a with block."""
        with self._failing(lambda at, _: ConnectionError(f"could not connect to the bucket for {at or 'its root'}")):
            yield

    @contextmanager
    def _failing(self, choose: Callable[[str, Access], BaseException | None]) -> Iterator[None]:
        with self._lock:
            self._faults.append(choose)
        try:
            yield
        finally:
            with self._lock:
                self._faults.remove(choose)

    def fault_for(self, path: str, access: Access) -> BaseException | None:
        """Return the error that an access meets, or None."""
        with self._lock:
            return next((error for choose in self._faults if (error := choose(path, access)) is not None), None)


_buckets: dict[str, FaultyBucket] = {}


def _denied(path: str) -> PermissionError:
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@cache
def _root() -> Path:
    _kept.append(folder := tempfile.TemporaryDirectory(prefix="resilient-tasks-buckets-"))
    return Path(folder.name)


#: Deleted at the end of the process.
_kept: list[tempfile.TemporaryDirectory[str]] = []


def _error_for(path: Any, access: Access) -> BaseException | None:
    """Return the error that an access meets, or None.

    Raises:
        FileNotFoundError: there is no such bucket in this process.
    """
    for each in path if isinstance(path, list | tuple) else [path]:
        name, _, below = str(each).removeprefix(f"{PROTOCOL}://").strip("/").partition("/")
        if name not in _buckets:
            raise FileNotFoundError(errno.ENOENT, "this process has no such bucket", f"{PROTOCOL}://{name}")
        if (error := _buckets[name].fault_for(below, access)) is not None:
            return error
    return None


@cache
def _register() -> None:
    """Make the protocol known to fsspec, which is loaded with the first bucket."""
    import fsspec  # noqa: PLC0415
    from fsspec.implementations.dirfs import DirFileSystem  # noqa: PLC0415
    from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415

    def guarded(name: str, access: Access) -> Callable[..., Any]:
        @functools.wraps(getattr(DirFileSystem, name))
        def method(self: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
            error = _error_for(path, access)
            if error is not None and not (_is_full(error) and name in ("makedirs", "mkdir")):
                raise error
            return getattr(DirFileSystem, name)(self, path, *args, **kwargs)

        return method

    def open_(self: Any, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        error = _error_for(path, "read" if mode.startswith("r") else "write")
        if error is not None and not _is_full(error):
            raise error
        file = DirFileSystem.open(self, path, mode, *args, **kwargs)
        if error is not None:  # a file can still be created on a full disk
            file.write = functools.partial(_raise, error)
        return file

    methods = {name: guarded(name, "read") for name in _READS} | {name: guarded(name, "write") for name in _WRITES}
    of_root = functools.partialmethod(DirFileSystem.__init__, str(_root()), LocalFileSystem(auto_mkdir=True))
    faulty = type(
        "FaultyFileSystem", (DirFileSystem,), {**methods, "protocol": PROTOCOL, "open": open_, "__init__": of_root}
    )
    fsspec.register_implementation(PROTOCOL, faulty, clobber=True)


def _is_full(error: BaseException) -> bool:
    return getattr(error, "errno", None) == errno.ENOSPC


def _raise(error: BaseException, *_: object) -> None:
    raise error
