"""Prefect's blocks: one loaded by name, and the result storage of runs, which keeps last good results."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import httpx
from prefect.blocks.core import Block
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TaskRunContext
from prefect.filesystems import LocalFileSystem, RemoteFileSystem
from prefect.futures import PrefectFuture
from prefect.results import ResultStore, get_result_store, should_persist_result
from prefect.serializers import PickleSerializer
from prefect.settings import PREFECT_API_URL

from resilient_tasks.core.host import Results
from resilient_tasks.policies.last_good import file_results
from resilient_tasks.storage.results import Label, StoredResults, is_in_the_future


def load(name: str) -> Any:
    """Load a block, also while an event loop is running.

    Args:
        name: its type and name, as in `remote-file-system/ml`.

    Raises:
        OSError: the server does not answer or has no such block, or the library that defines its type is not installed.
    """
    try:
        return Block.load(name, _sync=True)  # type: ignore[call-arg]  # handled by its decorator
    except (httpx.HTTPError, OSError) as error:
        raise OSError(f"Prefect's server does not answer: {str(error) or type(error).__name__}") from error
    except ValueError as error:  # its message names what is missing
        where = PREFECT_API_URL.value() or "of this process"
        raise FileNotFoundError(f"{error} on the server {where}: `prefect block ls` lists its blocks") from error


#: The folder in the result storage that holds last good results.
FOLDER = "last_good"
#: Cloud storages' errors for a missing object.
_MISSING = re.compile(r"NoSuchKey|Not ?Found|404|not exist|no such", re.IGNORECASE)


def results_of_this_run() -> Results | None:
    """Return the result storage and serializer of the current run; None outside of runs."""
    if TaskRunContext.get() is None and FlowRunContext.get() is None:
        return None
    store = get_result_store()
    storage = store.result_storage if should_persist_result() else None
    open_results = None if storage is None else lambda name: _results_at(storage, name)
    return Results(open_results, store.serializer, _is_data)


def _is_data(value: Any) -> bool:
    items = value if isinstance(value, list | tuple | set) else (value,)
    return not any(isinstance(item, State | PrefectFuture) for item in items)


def _results_at(storage: Any, name: str) -> StoredResults:
    if isinstance(storage, LocalFileSystem):
        base = os.path.expanduser(storage.basepath or ".")  # noqa: PTH111  # a string, since it may be a URL
        return file_results(f"{base}/{FOLDER}", name, {})
    if isinstance(storage, RemoteFileSystem) and not storage.basepath.startswith("smb://"):
        return file_results(f"{storage.basepath.rstrip('/')}/{FOLDER}", name, storage.settings)
    return BlockResults(storage, name)


@dataclass(frozen=True)
class BlockResults:
    """A storage block that can only read and write: it neither lists nor removes.

    Each key has one file, which a newer result replaces. The number of files is not limited.
    """

    storage: Any
    name: str

    def newest(self, key: str, now: float) -> tuple[Label, bytes] | None:  # noqa: ARG002  # there is only one
        try:
            text, content = self._store.read(self._path(key)).result
        except Exception as error:
            if isinstance(error, FileNotFoundError) or _MISSING.search(f"{type(error).__name__}: {error}"):
                return None
            raise
        label = Label.in_name(text)
        return None if label is None else (label, content)

    def put(self, label: Label, content: bytes, now: float, keep: int) -> None:  # noqa: ARG002  # as above
        existing = self.newest(label.key, now)
        if existing is None or existing[0].moment <= label.moment or is_in_the_future(existing[0], now):
            self._store.write((label.name, content), self._path(label.key))

    @property
    def _store(self) -> ResultStore:
        return ResultStore(result_storage=self.storage, serializer=PickleSerializer(), cache_result_in_memory=False)

    def _path(self, key: str) -> str:
        return f"{FOLDER}/{self.name}/{key}"
