# ruff: noqa: PLC0415 - fsspec loads on first use
"""Files at an address: a local folder, or a URL for fsspec.

Names are relative to the address, with forward slashes. Writes are atomic. `names` skips names that begin with a dot:
temporary files and hidden folders.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol
from urllib.parse import unquote, urlsplit

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.redaction.patterns import MARK
from resilient_tasks.redaction.text import is_secret_pair, redact
from resilient_tasks.storage.blocks import Address, address_named, address_of, is_block, is_name

_TEMPORARY = ".tmp"
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")
_NAME_LENGTH = 100
_SHORTEST = 6  # shorter texts occur in many words
#: File systems without folders: a write must not create a bucket.
_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci"})


class Files(Protocol):
    """The files at one address.

    Attributes:
        advice: What to check after a failure.
    """

    advice: ClassVar[str]

    def place(self, name: str) -> Path | str:
        """Return the path or URL of a file."""
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file to read it."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a file only if it does not exist; return whether it was written."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        ...

    def names(self, under: str = "") -> Iterator[str]:
        """Yield every file under a folder, in order; none if the folder does not exist."""
        ...

    def here(self) -> list[str]:
        """Return the files directly at the address, unordered; none if the folder does not exist."""
        ...

    def exist(self) -> bool:
        """Return whether the address exists."""
        ...

    def leftovers(self, older_than: float) -> Iterator[str]:
        """Yield temporary files that were not modified for `older_than` seconds."""
        ...


def files_at(url: Any, options: Mapping[str, Any], below: str = "") -> Files:
    """Return the files at an address.

    Args:
        url: A local path, a `file://` URL, any URL that fsspec knows, a storage block, or the name of one.
        options: Options of fsspec's file system; unused for local paths.
        below: A folder at that address.

    Raises:
        ValueError: If no file system is known for the URL, or its library is not installed.
        OSError: If a block of that name cannot be loaded.
    """
    if is_block(url):
        address = address_of(url)
    else:
        text = os.fspath(url)
        address = address_named(text) if is_name(text) else Address(text, {})
    address = address.below(below) if below else address
    text = address.url
    parts = urlsplit(text)
    if "://" not in text and parts.scheme != "file":
        return LocalFiles(Path(text))
    if parts.scheme == "file":
        if parts.netloc in {"", "localhost"} and parts.path:
            return LocalFiles(Path(unquote(parts.path)))
        raise ValueError(f"{redact(text)!r} names a folder on another host; a file URL is file:///path.")
    _check_known(text, parts.scheme.partition("+")[0])
    return RemoteFiles(text.rstrip("/"), {**address.options, **options}, address.shown)


def _check_known(url: str, protocol: str) -> None:
    """Refuse a URL at once, not with the first write."""
    from fsspec.registry import known_implementations, registry

    if protocol in registry:  # loaded already, or registered by the user
        return
    if protocol not in known_implementations:
        raise ValueError(f"No file system is known for {redact(url)!r}: give a path, or a URL that fsspec can open.")
    known = known_implementations[protocol]
    library = known["class"].partition(".")[0]
    if not _is_installed(library):
        extra = ": pip install 'resilient-tasks[s3]'" if protocol in {"s3", "s3a"} else ""
        needed = known.get("err", f"Install {library}").rstrip(".")
        raise PolicyError(f"{redact(url)!r} needs a library that is not installed. {needed}{extra}")


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ValueError:  # being imported, or removed by a test
        return sys.modules.get(library) is not None


@dataclass(frozen=True)
class LocalFiles:
    """A local folder: files are written beside the target, flushed to disk, and renamed."""

    root: Path
    advice: ClassVar[str] = "Check that the disk has room and the path is accessible."

    def place(self, name: str) -> Path:
        return self.root / name

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return self.place(name).open("rb")

    def write(self, name: str, content: bytes) -> None:
        path = self.place(name)
        temporary = self._temporary(path, content)
        try:
            temporary.replace(path)
        finally:
            _discard(temporary)
        self._sync(path.parent)

    def create(self, name: str, content: bytes) -> bool:
        path = self.place(name)
        temporary = self._temporary(path, content)
        try:
            os.link(temporary, path)  # unlike a rename, it fails if the name exists
        except FileExistsError:
            return False
        finally:
            _discard(temporary)
        self._sync(path.parent)
        return True

    def remove(self, name: str) -> None:
        self.place(name).unlink(missing_ok=True)

    def names(self, under: str = "") -> Iterator[str]:
        for path in _walk(self.root / under):
            yield path.relative_to(self.root).as_posix()

    def here(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.root) if not name.startswith(".")]  # noqa: PTH208  # names alone
        except FileNotFoundError:
            return []

    def exist(self) -> bool:
        return self.root.exists()

    def leftovers(self, older_than: float) -> Iterator[str]:
        for path in self.root.rglob(f".*{_TEMPORARY}"):
            with suppress(FileNotFoundError):  # its writer has just finished
                if time.time() - path.stat().st_mtime > older_than:
                    yield path.relative_to(self.root).as_posix()

    def _temporary(self, path: Path, content: bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{uuid.uuid4().hex}{_TEMPORARY}"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            _discard(temporary)
            raise
        return temporary

    def _sync(self, folder: Path) -> None:
        """Flush the directory entries: of the file, and of folders that may be new."""
        if os.name == "nt":  # Windows cannot open folders, and its rename needs no flush
            return
        depth = len(folder.relative_to(self.root).parts)
        for each in (folder, *folder.parents[: depth + 1]):
            handle = os.open(each, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


@dataclass(frozen=True)
class RemoteFiles:
    """A URL for fsspec. A file is written under a temporary name and moved, so it is never seen half-written.

    Exceptions of a file system are raised as `OSError`, without the secrets in its options: file systems have their
    own, and botocore's are not `OSError`.
    """

    url: str
    options: Mapping[str, Any]
    shown: str = ""
    advice: ClassVar[str] = "Check that the service answers, that the place exists, and that you may write there."

    def place(self, name: str) -> str:
        return f"{self.shown or self.url}/{name}"

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with self._reached() as (system, root):
            file = system.open(f"{root}/{name}", "rb")
        with self._reached(reading=True), file:
            yield file

    def write(self, name: str, content: bytes) -> None:
        with self._reached() as (system, root):
            folder = f"{root}/{name}".rpartition("/")[0]
            temporary = f"{folder}/.{uuid.uuid4().hex}{_TEMPORARY}"
            self._make(system, folder)
            try:
                system.pipe_file(temporary, content)
                system.mv(temporary, f"{root}/{name}")
            except BaseException:
                with suppress(Exception):  # the original failure is raised
                    system.rm_file(temporary)
                raise

    def create(self, name: str, content: bytes) -> bool:
        try:
            with self._reached() as (system, root):
                self._make(system, f"{root}/{name}".rpartition("/")[0])
                system.pipe_file(f"{root}/{name}", content, mode="create")
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), self._reached() as (system, root):
            system.rm_file(f"{root}/{name}")

    def names(self, under: str = "") -> Iterator[str]:
        for name in self._everything(under):
            if not any(part.startswith(".") for part in name.removeprefix(under).split("/")):
                yield name

    def here(self) -> list[str]:
        return [name for name in self.names() if "/" not in name]

    def exist(self) -> bool:
        with self._reached() as (system, root):
            return bool(system.exists(root))

    def leftovers(self, older_than: float) -> Iterator[str]:
        for name in self._everything(""):
            if name.endswith(_TEMPORARY) and self._is_older(name, older_than):
                yield name

    def _is_older(self, name: str, seconds: float) -> bool:
        # Its writer may have just finished, and some file systems have no times.
        with suppress(FileNotFoundError), self._reached() as (system, root), suppress(NotImplementedError):
            return bool(time.time() - system.modified(f"{root}/{name}").timestamp() > seconds)
        return False

    def _everything(self, under: str) -> list[str]:
        with self._reached() as (system, root):
            system.invalidate_cache()  # other processes write, too
            found: list[str] = system.find(f"{root}/{under}".rstrip("/"))
            return sorted(path.removeprefix(f"{root}/") for path in found)

    def _make(self, system: Any, folder: str) -> None:
        if urlsplit(self.url).scheme not in _BUCKETS:
            system.makedirs(folder, exist_ok=True)

    @contextmanager
    def _reached(self, *, reading: bool = False) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the root path in it."""
        from fsspec.core import url_to_fs

        try:
            system, root = url_to_fs(self.url, **self.options)
            yield system, root.rstrip("/")
        except Exception as error:
            text = str(error) or type(error).__name__
            clean = redact_secrets(text, secrets_in(self.options))
            if clean != text:
                kind = type(error) if type(error) in _OF_PYTHON else OSError
                raise kind(clean) from None  # a printed cause would show the secret
            # Errors of a reader inside the block are Arrow's or Python's, and describe the file.
            if isinstance(error, OSError | ImportError) or (reading and isinstance(error, _OF_READERS)):
                raise
            raise OSError(f"{type(error).__name__}: {text}") from error


_OF_PYTHON = (OSError, FileNotFoundError, FileExistsError, PermissionError, ImportError)
_OF_READERS = (ValueError, TypeError, LookupError, ArithmeticError)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files under a folder; Path.glob would skip folders that are not readable."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path)


def _discard(temporary: Path) -> None:
    with suppress(OSError):  # the original failure is raised
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; afterwards it replaces the target, flushed to disk.

    After an error the target is unchanged. Temporary files of killed processes for the same target are removed: a live
    writer holds a lock on its file.

    Raises:
        IsADirectoryError: If the target is a folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory; name a file in it", os.fspath(target))
    beside = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}"
    temporary = target.parent / f"{beside}-{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("xb") as held:
            with suppress(OSError):  # no locks on this file system: leftovers stay
                _lock(held.fileno())
            for other in target.parent.glob(f"{beside}-*.tmp"):
                if other != temporary:
                    _remove_if_left(other)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _lock(file: int) -> None:
    """Lock a file. Windows has no such locks, and does not remove open files.

    Raises:
        OSError: If another process has it locked, or the file system has no locks.
    """
    if sys.platform != "win32":
        import fcntl  # not on Windows

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_if_left(file: Path) -> None:
    with suppress(OSError), file.open("rb") as left:  # in use, not permitted, or gone already
        _lock(left.fileno())
        file.unlink()


def secrets_in(options: Mapping[str, Any]) -> set[str]:
    """Return the secret texts in the options of a file system, by name or by type."""
    return {text for text in _secrets(options) if len(text) >= _SHORTEST}


def redact_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with these secrets replaced by a mark."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MARK)
    return text


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        reveal = getattr(value, "get_secret_value", None)
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif callable(reveal):
            yield str(reveal())
        elif isinstance(value, str) and is_secret_pair(str(name), value):
            yield value


def safe_name(name: str) -> str:
    """Return a file name that is valid everywhere, and distinct for distinct names."""
    text = str(name)
    legal = _UNSAFE.sub("-", text)[:_NAME_LENGTH].lstrip(".-").rstrip(".")
    if text and legal == text and text == text.lower():
        return text
    # The digest also separates "Jan" and "jan" on case-insensitive file systems.
    return f"{legal}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".lstrip("-")
