"""LastGood: the last accepted result stands in for a failed call."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_tasks import safely
from resilient_tasks.core import home, host, settings
from resilient_tasks.core.classification.matching import On, matcher
from resilient_tasks.core.errors import PolicyError, PredicateError
from resilient_tasks.core.events import LastGoodUnavailable
from resilient_tasks.core.execution import clock, real_time, runtime
from resilient_tasks.core.failures import describe
from resilient_tasks.core.host import Results
from resilient_tasks.core.keys import key_functions
from resilient_tasks.core.keys.stable_keys import UnstableKeyError, key_of, key_of_call
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import SecondsOrNone
from resilient_tasks.core.parameters.signatures import module_of, signature_of
from resilient_tasks.core.pipeline import Policy, operation_of
from resilient_tasks.core.stand_ins import DEFAULT, StandIn, calling, fall_back
from resilient_tasks.core.wording import age, moment
from resilient_tasks.redaction.text import redact
from resilient_tasks.storage import results
from resilient_tasks.storage.blocks import StorageBlock, is_block, is_name
from resilient_tasks.storage.files import files_at, safe_name
from resilient_tasks.storage.results import FileResults, Label, Moment, StoredResults, UnstorableError

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Proceed

NAME = "last good result"
_HOUR = 3600.0
_KEY = "LastGood(key=...)"


@answering('LastGood(max_age="2d")', "on", "otherwise", "folder")
@dataclass(frozen=True, eq=False)
class LastGood(StandIn):
    """Keep each accepted result, and let the last one stand in for a failed call.

    Results are kept by operation and arguments. The outcome of a call with a stand-in is `Degraded`, with its age.
    Degraded results, and results that validation refused, are never kept. A result that cannot be kept does not fail
    the call, but emits the event `fallback.unavailable`. If there is no result, or it is too old, the original error is
    raised, with a note.

    Args:
        max_age: seconds after which a result no longer stands in, also as `"2d"` or a `timedelta`. Default: never. The
            age counts from the start of the call that returned it.
        on: which failures it handles, as in `Fallback`.
        otherwise: the stand-in if there is no result, or it is too old: a function of the call's own arguments, or a
            `Fallback`.
        folder: where results are kept: a folder's path, its `file://` URL, any URL that fsspec supports, one of
            Prefect's storage blocks, or the name of one on the server, as in `block:remote-file-system/ml`. Default:
            the result storage of a Prefect run that persists its results; else `configure(last_good=...)`; else
            `last_good` in the folder `RESILIENT_TASKS_HOME` (`~/.resilient_tasks`).
        options: for fsspec's file system of that URL: credentials, an endpoint.
        serializer: an object with `dumps` and `loads`, such as one of Prefect's serializers, for all results. Default:
            Parquet for frames; for other results the serializer of the Prefect run; without a run JSON, if it returns
            the result unchanged, and else pickle.
        key: a function of the call's arguments that it names; its return value identifies the call. Default: all
            arguments.
        name: the name under which results are kept. Default: the module's and the function's.
        keep: how many results, of different arguments, are kept for each name; the oldest are deleted.

    Raises:
        PolicyError: the arguments are contradictory or impossible.
    """

    max_age: SecondsOrNone = field(default=durations.default(None))
    on: On | None = field(default=None, kw_only=True)
    otherwise: Callable[..., Any] | StandIn | None = field(default=None, kw_only=True)
    folder: str | os.PathLike[str] | StorageBlock | None = field(
        default=None, kw_only=True, repr=False
    )  # may hold credentials
    options: Mapping[str, Any] | None = field(default=None, kw_only=True, repr=False)
    serializer: Any = field(default=None, kw_only=True)
    key: Callable[..., Any] | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    keep: int = field(default=1000, kw_only=True)
    through: tuple[Policy, ...] = field(default=(), kw_only=True, repr=False)
    """Policies that the stand-in must pass, like any result: the output schema."""

    def __post_init__(self) -> None:
        durations.settle(self, "max_age")
        if self.on is not None:
            if isinstance(self.on, Iterator):  # an iterator can be read once only, and each failure reads it
                object.__setattr__(self, "on", tuple(self.on))
            matcher(self.on, "LastGood(on=...)")
        self._check_functions()
        self._check_place()
        if type(self.keep) is not int or self.keep < 1:
            raise PolicyError(f"LastGood(keep=...) is a number of results from 1 up, not {self.keep!r}")
        if self.name is not None and (not isinstance(self.name, str) or not self.name.strip()):
            raise PolicyError(f"LastGood(name=...) is a name for the results, not {self.name!r}")

    def _check_functions(self) -> None:
        other = self.otherwise
        if isinstance(other, type) or not (other is None or callable(other) or isinstance(other, StandIn)):
            msg = (
                f"LastGood(otherwise=...) is a function of the call's arguments, or a Fallback, not {other!r};"
                " a value is otherwise=Fallback(value=...), and a mapping otherwise=Fallback({...})"
            )
            raise PolicyError(msg)
        if self.key is not None:
            key_functions.check(self.key, _KEY)
        if self.serializer is None:
            return
        methods = (getattr(self.serializer, "dumps", None), getattr(self.serializer, "loads", None))
        if isinstance(self.serializer, type) or not all(map(callable, methods)):
            example = "such as prefect.serializers.JSONSerializer()"
            msg = f"LastGood(serializer=...) is an object with dumps and loads, {example}, not {self.serializer!r}"
            raise PolicyError(msg)

    def _check_place(self) -> None:
        if self.options is not None and not isinstance(self.options, Mapping):
            raise PolicyError(f"LastGood(options=...) is a mapping of fsspec's options, not {self.options!r}")
        if self.folder is None:
            return
        if not is_block(self.folder) and (not isinstance(self.folder, str | os.PathLike) or not os.fspath(self.folder)):
            raise PolicyError(f"LastGood(folder=...) is a folder's path, a URL or a storage block, not {self.folder!r}")
        if isinstance(self.folder, str) and is_name(self.folder):
            return  # importing a module sends no request to the server
        try:
            files_at(self.folder, self.options or {})
        except ValueError as error:
            raise PolicyError(f"LastGood(folder=...): {error}") from None

    def longest(self, inner: Bound) -> Bound:
        if isinstance(self.otherwise, StandIn):
            return self.otherwise.longest(inner)
        return inner if self.otherwise is None else inner.then(None, f"the fallback {_named(self.otherwise)}")

    def describe(self) -> str:
        limit = "" if self.max_age is None else f", at most {age(self.max_age)} old"
        other = self.otherwise
        more = "" if other is None else f"; else {other.describe() if isinstance(other, StandIn) else _named(other)}"
        return f"fallback: {NAME}{limit}{more}"

    def functions(self) -> tuple[Callable[..., Any], ...]:
        """Return the functions that may stand in."""
        if isinstance(self.otherwise, StandIn):
            return tuple(self.otherwise.functions())
        return () if self.otherwise is None else (self.otherwise,)

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        names = _names_in(fn)
        if self.key is not None:
            key_functions.check_fits(self.key, fn, _KEY)
        elif names[:1] == ("self",):
            parameters, others = ", ".join(names), f"({', '.join(names[1:])},)" if names[1:] else "..."
            msg = (
                f"{operation_of(fn)} is a method, and its object has no key to find its results by:"
                f" write LastGood(key=lambda {parameters}: {others}), with a value that identifies the object"
            )
            raise PolicyError(msg)

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        began = _moments.next()
        key = self._key(call)  # before the call: a function may change its arguments
        try:
            outcome = await proceed(call)
        except Exception as problem:  # of a policy further in
            outcome = Failed(problem)
        if call.fenced or isinstance(outcome, Degraded):
            return outcome
        if isinstance(outcome, Ok):
            if outcome.attempts > call.work.degraded:  # else it was made from a stand-in
                await self._keep(call, key, began, outcome.value)
            return outcome
        try:
            if call.work.again or not matcher(DEFAULT if self.on is None else self.on, "LastGood(on=...)")(
                outcome.error
            ):
                return outcome
            return await self._stand_in(call, key, outcome)
        except PredicateError as problem:
            return Failed(problem)
        finally:
            del outcome  # the frame that raised may hold on to this one

    def _key(self, call: Call) -> str | Exception:
        work = call.work
        try:
            if self.key is not None:
                return key_of(key_functions.key_of(self.key, call, _KEY), results.key_parts)
            return key_of_call(work.fn, work.args, work.kwargs, results.key_parts)
        except UnstableKeyError as error:
            names = ", ".join(_names_in(work.fn))
            return UnstableKeyError(
                f"{error}: write LastGood(key=lambda {names}: ...), with a value that identifies the call"
            )
        except Exception as error:
            return error

    async def _keep(self, call: Call, key: str | Exception, began: Moment, value: Any) -> None:
        """Keep a result. An error here does not fail the call."""
        if isinstance(key, Exception):
            self._report(call, "kept", key)
            return
        around = host.current.results()
        if around is not None and not around.is_data(value):
            return
        done = await _run_blocking(call, self._write, call, around, key, began, value)
        if isinstance(done, Failed):
            self._report(call, "kept", done.error)

    def _write(self, call: Call, around: Results | None, key: str, began: Moment, value: Any) -> None:
        form, content = results.encoded(value, *self._serializer(around))
        shelf = self._results_at(call, around)
        shelf.put(Label.of(key, began, form, content), content, clock.wall(), self.keep)
        if isinstance(shelf, FileResults) and (place := f"{shelf.files}") not in _tidied:
            _tidied.add(place)
            shelf.tidy()

    async def _stand_in(self, call: Call, key: str | Exception, failed: Failed) -> Outcome[Any]:
        """Let the last good result stand in, or else that of `otherwise`."""
        now = clock.wall()
        found = Failed(key) if isinstance(key, Exception) else await _run_blocking(call, self._read, call, key, now)
        if isinstance(found, Ok) and isinstance(found.value, tuple):
            label, value = found.value
            how_old = max(0.0, now - label.time)

            async def produce(_: Call) -> Outcome[Any]:
                return Ok(value)

            outcome = await fall_back(
                call, failed, produce, name=NAME, through=self.through, age=how_old, since=label.time
            )
            if isinstance(outcome, Degraded):
                safely.note(outcome.because, f"the {NAME} of {moment(label.time)}, {age(how_old)} old, stands in")
                return outcome
        elif isinstance(found, Failed):
            self._report(call, "read", found.error)
            safely.note(failed.error, redact(f"the {NAME} cannot be read: {_why(found.error)}"))
        elif isinstance(found, Ok):
            safely.note(failed.error, found.value)
        return await self._otherwise(call, failed)

    async def _otherwise(self, call: Call, failed: Failed) -> Outcome[Any]:
        other = self.otherwise
        if other is None:
            return failed
        if not isinstance(other, StandIn):
            return await fall_back(call, failed, calling(other, failed.error), name=_named(other), through=self.through)

        async def failed_call(_: Call) -> Outcome[Any]:
            return failed

        return await other.checked_by(*self.through).around(call, failed_call)

    def _read(self, call: Call, key: str, now: float) -> tuple[Label, Any] | str:
        """Return the last good result, or the reason why there is none."""
        around = host.current.results()
        found = self._results_at(call, around).newest(key, now)
        if found is None:
            return f"no {NAME} of {call.operation}({', '.join(_names_in(call.work.fn))}) with these arguments"
        label, content = found
        if self.max_age is not None:
            if results.is_in_the_future(label, now):
                return f"the {NAME} is of {moment(label.time)}, which is in the future: its age is unknown"
            if now - label.time > self.max_age:
                return f"the {NAME} is {age(now - label.time)} old, max_age is {age(self.max_age)}"
        own = self.serializer if label.form == results.OWN else around.serializer if around is not None else None
        return label, results.decoded(label, content, own)

    def _serializer(self, around: Results | None) -> tuple[Any, str]:
        if self.serializer is not None or around is None:
            return self.serializer, results.OWN
        return around.serializer, _PREFECTS

    def _results_at(self, call: Call, around: Results | None) -> StoredResults:
        name = safe_name(self.name or f"{module_of(_innermost(call.work.fn))}.{call.operation}")
        if self.folder is None and around is not None and around.shelf is not None:
            shelf: StoredResults = around.shelf(name)
            return shelf
        folder = self.folder or settings.current.last_good or _at_home()
        return file_results(folder, name, (self.options or {}) if self.folder is not None else {})

    def _report(self, call: Call, action: str, error: Exception) -> None:
        """Emit the event, once an hour for each operation and kind of error."""
        about = (action, call.operation, str(self.folder or settings.current.last_good), type(error).__name__)
        now = clock.wall()
        if 0 <= now - _reported.get(about, -_HOUR) < _HOUR:
            return
        _reported[about] = now
        call.emit(LastGoodUnavailable, action=action, reason=_why(error))


#: The form of results that Prefect's serializer writes.
_PREFECTS = "prefect"

#: The time of the last report that results cannot be kept or read, by reason.
_reported: dict[tuple[str, str, str, str], float] = {}
#: Folders in which this process has removed the files of killed writers.
_tidied: set[str] = set()


#: Seconds for which a block that was loaded by name is reused: each call needs it, and a block may be changed.
_BLOCK_REUSED = 60.0
_loaded: dict[tuple[str, str], tuple[float, FileResults]] = {}


def file_results(folder: str | os.PathLike[str] | StorageBlock, name: str, options: Mapping[str, Any]) -> FileResults:
    """Return the shelf for the results of one name in a folder, at a URL, or on a block."""
    if not isinstance(folder, str) or not is_name(folder):
        return FileResults(files_at(folder, options, name))
    since, shelf = _loaded.get((folder, name), (0.0, None))
    now = clock.wall()
    if shelf is None or not 0 <= now - since < _BLOCK_REUSED:
        shelf = FileResults(files_at(folder, options, name))
        _loaded[folder, name] = now, shelf
    return shelf


#: In a test, the folder that replaces the one in the home folder; else empty.
_instead_of_home = ""


@contextmanager
def use_folder(folder: str) -> Iterator[None]:
    """Keep results in `folder` inside the block, unless a policy or a setting names another."""
    global _instead_of_home  # noqa: PLW0603  # one for the process: worker threads must see it too
    before, _instead_of_home = _instead_of_home, folder
    try:
        yield
    finally:
        _instead_of_home = before


def _at_home() -> str:
    """Return the folder for results in the home folder, accessible to the owner only."""
    if _instead_of_home:
        return _instead_of_home
    folder = home.folder() / "last_good"
    for made in (folder.parent, folder):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(folder)


class _Moments:
    """Gives each call of this process a unique, increasing moment, on any clock."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> Moment:
        now = round(clock.wall(), 6)  # the resolution of file names
        with self._lock:
            self._last = max(self._last + 1, int(real_time.time() * 1e9))
            return Moment(now, self._last)


_moments = _Moments()


async def _run_blocking(call: Call, work: Callable[..., Any], *args: Any) -> Outcome[Any]:
    """Run blocking I/O; under an event loop in a thread."""
    if call.runtime is runtime.ASYNC:
        return await call.runtime.invoke(asyncio.to_thread, (work, *args), {})
    return await call.runtime.invoke(work, args, {})


def _innermost(fn: Any) -> Any:
    """Return the user's function, without partials and other decorators' wrappers."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        else:
            return fn


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, UnstorableError | UnstableKeyError) else describe(error)


def _named(use: Callable[..., Any]) -> str:
    return operation_of(use).rpartition(".")[2]


def _names_in(fn: Callable[..., Any]) -> tuple[str, ...]:
    signature = signature_of(fn)
    return tuple(signature.parameters) if signature else ("...",)
