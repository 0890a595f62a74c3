# ruff: noqa: PLC0415 - fsspec loads on first use
"""Whole files under one address: a local folder, or whatever fsspec reaches.

A name is relative to the address and has forward slashes. A file appears whole or not at all. What begins with a dot
is out of sight of `names`: left-over temporary files, and folders kept apart.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import unquote, urlsplit

from resilient_tasks.core.redact import redact

_TEMPORARY = ".tmp"


class Files(Protocol):
    """One address."""

    def place(self, name: str) -> Path | str:
        """Where a file is, for people and for other programs: a path, or a URL."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """Open a file to read it."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write a file that does not exist yet; False, and nothing written, where it does."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone already is no error."""
        ...

    def names(self, under: str = "") -> Iterator[str]:
        """Every file under a folder, in order; none where there is no such folder."""
        ...

    def here(self) -> list[str]:
        """Every file that lies at the address itself, in no order; none where there is no such folder."""
        ...

    def exist(self) -> bool:
        """Whether there is anything at the address."""
        ...

    def leftovers(self, older_than: float) -> Iterator[str]:
        """Temporary files that nobody has touched for `older_than` seconds."""
        ...


def files_at(url: str | os.PathLike[str], options: Mapping[str, Any]) -> Files:
    """The files at an address.

    Args:
        url: A local path, a `file://` URL, or any URL that fsspec knows.
        options: What fsspec's file system takes; unused for local paths.

    Raises:
        ValueError: If no file system is known for the URL.
    """
    text = os.fspath(url)
    parts = urlsplit(text)
    if "://" not in text and parts.scheme != "file":
        return LocalFiles(Path(text))
    if parts.scheme == "file":
        if parts.netloc in {"", "localhost"} and parts.path:
            return LocalFiles(Path(unquote(parts.path)))
        raise ValueError(f"{redact(text)!r} names a folder on another host; a file URL is file:///path.")
    from fsspec import available_protocols

    if parts.scheme.partition("+")[0] not in available_protocols():
        raise ValueError(f"No file system is known for {redact(text)!r}: give a path, or a URL that fsspec can open.")
    return RemoteFiles(text.rstrip("/"), options)


@dataclass(frozen=True)
class LocalFiles:
    """A folder of this machine: written beside the target, flushed to the disk, renamed."""

    root: Path

    def place(self, name: str) -> Path:
        return self.root / name

    def open(self, name: str) -> IO[bytes]:
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
            os.link(temporary, path)  # unlike a rename, it refuses a name that is taken
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
        """Flush the names to the disk too: of the file, and of the folders that may be as new as it is."""
        if os.name == "nt":  # Windows opens no folders, and its rename needs none of this
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
    """An address of fsspec's. A file is written under another name and moved, so that half of it is never seen."""

    url: str
    options: Mapping[str, Any]

    def place(self, name: str) -> str:
        return f"{self.url}/{name}"

    def open(self, name: str) -> IO[bytes]:
        system, root = self._system()
        opened: IO[bytes] = system.open(f"{root}/{name}", "rb")
        return opened

    def write(self, name: str, content: bytes) -> None:
        system, root = self._system()
        folder = f"{root}/{name}".rpartition("/")[0]
        temporary = f"{folder}/.{uuid.uuid4().hex}{_TEMPORARY}"
        system.makedirs(folder, exist_ok=True)
        try:
            system.pipe_file(temporary, content)
            system.mv(temporary, f"{root}/{name}")
        except BaseException:
            with suppress(Exception):  # the failure itself is what the caller should hear of
                system.rm_file(temporary)
            raise

    def create(self, name: str, content: bytes) -> bool:
        system, root = self._system()
        system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        try:
            system.pipe_file(f"{root}/{name}", content, mode="create")
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        system, root = self._system()
        with suppress(FileNotFoundError):
            system.rm_file(f"{root}/{name}")

    def names(self, under: str = "") -> Iterator[str]:
        for name in self._everything(under):
            if not any(part.startswith(".") for part in name.removeprefix(under).split("/")):
                yield name

    def here(self) -> list[str]:
        return [name for name in self.names() if "/" not in name]

    def exist(self) -> bool:
        system, root = self._system()
        return bool(system.exists(root))

    def leftovers(self, older_than: float) -> Iterator[str]:
        system, root = self._system()
        for name in self._everything(""):
            if name.endswith(_TEMPORARY):
                with suppress(FileNotFoundError, NotImplementedError):  # some systems know no times
                    if time.time() - system.modified(f"{root}/{name}").timestamp() > older_than:
                        yield name

    def _everything(self, under: str) -> list[str]:
        system, root = self._system()
        system.invalidate_cache()  # another process may have written since
        found: list[str] = system.find(f"{root}/{under}".rstrip("/"))
        return sorted(path.removeprefix(f"{root}/") for path in found)

    def _system(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        system, root = url_to_fs(self.url, **self.options)
        return system, root.rstrip("/")


def _walk(folder: Path) -> Iterator[Path]:
    """Files under a folder; Path.glob would pass over folders that it may not read."""
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
    with suppress(OSError):  # after a failure; the failure is what the caller should hear of
        temporary.unlink(missing_ok=True)
