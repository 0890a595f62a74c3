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
import inspect
import io
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
#: Returns the error that an access to a path meets, or None.
_Choice: TypeAlias = Callable[[str, Access], BaseException | None]
#: The methods of fsspec, the arguments that are paths in the bucket, and what is done there.
_ACCESSES: dict[str, tuple[tuple[str, Access], ...]] = {
    **dict.fromkeys(
        (
            *("cat", "cat_file", "checksum", "created", "du", "exists", "expand_path", "find", "glob", "info", "isdir"),
            *("isfile", "ls", "modified", "sign", "size", "ukey", "walk", "open_async"),
        ),
        (("path", "read"),),
    ),
    **dict.fromkeys(("cat_ranges", "sizes"), (("paths", "read"),)),
    **dict.fromkeys(("get", "get_file"), (("rpath", "read"),)),
    **dict.fromkeys(
        ("delete", "makedirs", "mkdir", "pipe", "pipe_file", "rm", "rm_file", "rmdir", "touch", "write_text"),
        (("path", "write"),),
    ),
    **dict.fromkeys(("put", "put_file"), (("rpath", "write"),)),
    **dict.fromkeys(("copy", "cp_file"), (("path1", "read"), ("path2", "write"))),
    "mv": (("path1", "write"), ("path2", "write")),
}
#: Writes that need no space.
_SPARING = frozenset({"delete", "makedirs", "mkdir", "mv", "rm", "rm_file", "rmdir", "touch"})
#: Methods of an open file, which meet only the faults of a with block.
_OF_FILES: dict[str, Access] = {
    **dict.fromkeys(("read", "read1", "readinto", "readline", "readlines"), "read"),
    **dict.fromkeys(("write", "truncate"), "write"),
}

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
        self._faults: list[_Choice] = []
        self._blocks: list[_Choice] = []
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
        """Raise `OSError` (no space left on device) from every write, for the length of a with block.

        As on a full disk, files can be created without content, moved and deleted, and folders created.
        """
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
    def _failing(self, choose: _Choice) -> Iterator[None]:
        with self._lock:
            self._blocks.append(choose)
        try:
            yield
        finally:
            with self._lock:
                self._blocks.remove(choose)

    def fault_for(self, path: str, access: Access, *, is_open: bool = False) -> BaseException | None:
        """Return the error that an access meets, or None; one to an open file is not counted."""
        with self._lock:
            choices = self._blocks if is_open else (*self._faults, *self._blocks)
            return next((error for choose in choices if (error := choose(path, access)) is not None), None)


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


def _error_for(path: Any, access: Access, *, is_open: bool = False) -> BaseException | None:
    """Return the error that an access meets, or None.

    Raises:
        FileNotFoundError: there is no such bucket in this process.
    """
    for each in path if isinstance(path, list | tuple | dict) else [path]:
        name, _, below = str(each).removeprefix(f"{PROTOCOL}://").strip("/").partition("/")
        if name not in _buckets:
            raise FileNotFoundError(errno.ENOENT, "this process has no such bucket", f"{PROTOCOL}://{name}")
        if (error := _buckets[name].fault_for(below, access, is_open=is_open)) is not None:
            return error
    return None


@cache
def _register() -> None:
    """Make the protocol known to fsspec, which is loaded with the first bucket."""
    import fsspec  # noqa: PLC0415
    from fsspec.implementations.dirfs import DirFileSystem  # noqa: PLC0415
    from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415

    methods = {name: _guarded(getattr(DirFileSystem, name)) for name in _ACCESSES if hasattr(DirFileSystem, name)}
    open_ = _opening(DirFileSystem.open)
    of_root = functools.partialmethod(DirFileSystem.__init__, str(_root()), LocalFileSystem(auto_mkdir=True))
    faulty = type(
        "FaultyFileSystem", (DirFileSystem,), {**methods, "protocol": PROTOCOL, "open": open_, "__init__": of_root}
    )
    fsspec.register_implementation(PROTOCOL, faulty, clobber=True)


def _guarded(whole: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of the file system that meets the bucket's faults."""
    name, signature = whole.__name__, inspect.signature(whole)

    @functools.wraps(whole)
    def method(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        for parameter, access in _ACCESSES[name]:
            error = _error_for(given[parameter], access)
            if error is not None and not (_is_full(error) and name in _SPARING):
                raise error
        return whole(*args, **kwargs)

    return method


def _opening(whole: Callable[..., Any]) -> Callable[..., Any]:
    """Return the file system's method that opens files, which meet the bucket's faults."""

    @functools.wraps(whole)
    def open_(self: Any, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        if "b" not in mode:
            of_text = {name: kwargs.pop(name) for name in ("encoding", "errors", "newline") if name in kwargs}
            binary = open_(self, path, f"{mode.replace('t', '')}b", *args, **kwargs)
            return io.TextIOWrapper(binary, write_through=True, **of_text)
        error = _error_for(path, "read" if mode.startswith("r") else "write")
        if error is None and "+" in mode:
            error = _error_for(path, "write" if mode.startswith("r") else "read", is_open=True)
        if error is not None and not _is_full(error):
            raise error
        file = whole(self, path, mode, *args, **kwargs)
        for name, access in _OF_FILES.items():  # a file can still be created on a full disk
            if (method := getattr(file, name, None)) is not None:
                setattr(file, name, _guarded_method(method, path, access, error if access == "write" else None))
        return file

    return open_


def _is_full(error: BaseException) -> bool:
    return getattr(error, "errno", None) == errno.ENOSPC


def _guarded_method(
    method: Callable[..., Any], path: str, access: Access, always: BaseException | None
) -> Callable[..., Any]:
    """Return a method of an open file that meets the bucket's faults of the moment, or always this error."""

    @functools.wraps(method)
    def call(*args: Any) -> Any:
        error = always or _error_for(path, access, is_open=True)
        if error is not None:
            raise error
        return method(*args)

    return call
