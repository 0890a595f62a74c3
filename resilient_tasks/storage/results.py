# ruff: noqa: PLC0415 - pyarrow, cloudpickle and fsspec load on first use
"""Results that are kept for later: as bytes, in files whose names say whose they are, of when, and whether whole.

    <folder>/<operation>/<key>.<time>-<order>.<check>.<form>

`key` is that of the arguments, `time` when the call began that gave the result, `order` tells calls of one moment
apart, `check` is a digest of the content, and `form` how it is written. No file is ever changed: a newer result is
another file, which appears whole or not at all, and takes the older ones of its key away. So it does not matter how
many write at once, or who is slow.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from typing import Any, NamedTuple, Protocol

from resilient_tasks.core.wording import a
from resilient_tasks.storage import parquet
from resilient_tasks.storage.arrow import restored, stored
from resilient_tasks.storage.files import Files
from resilient_tasks.storage.values import AsText, decode

PARQUET, JSON, PICKLE, OWN = "parquet", "json", "pickle", "data"

_SKEW = 60.0
"""Seconds by which the clocks of two machines may differ."""
_LEFT_OVER = 3600.0  # seconds; no write takes that long
_TRIES = 3
_NAME = re.compile(
    r"(?P<key>[0-9a-f]{32})\.(?P<time>[0-9]{8}T[0-9]{6}\.[0-9]{6}Z)-(?P<order>[0-9a-f]{16})\.(?P<check>[0-9a-f]{16})\.(?P<form>[a-z]+)"
)
_TIME = "%Y%m%dT%H%M%S.%fZ"
_DEPTH = 100


class UnkeepableError(ValueError):
    """A result cannot be kept, or what was kept cannot be read. The sentence says why."""


class Moment(NamedTuple):
    """When a call began: `time` in unix seconds, and `order` among the calls of one moment."""

    time: float
    order: int


@dataclass(frozen=True)
class Label:
    """What the name of a file says.

    Attributes:
        key: Of the arguments.
        time: When the call began, in unix seconds.
        order: Is greater for the call that began later, among those of one moment.
        check: A digest of the content.
        form: How the content is written: `parquet`, `json`, `pickle`, or `data` for a serializer of the user's.
    """

    key: str
    time: float
    order: int
    check: str
    form: str

    @property
    def name(self) -> str:
        """The file's name."""
        when = dt.datetime.fromtimestamp(self.time, dt.UTC)
        return f"{self.key}.{when.strftime(_TIME)}-{self.order:016x}.{self.check}.{self.form}"

    @classmethod
    def of(cls, key: str, began: Moment, form: str, content: bytes) -> Label:
        """The label for a content."""
        return cls(key, began.time, began.order, _check(content), form)

    @property
    def moment(self) -> tuple[float, int]:
        """When the call began, to be compared."""
        return self.time, self.order

    @classmethod
    def in_name(cls, name: str) -> Label | None:
        """The label in a file's name; None for a file that is not ours."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        try:
            when = dt.datetime.strptime(found["time"], _TIME).replace(tzinfo=dt.UTC)
        except ValueError:
            return None
        return cls(found["key"], when.timestamp(), int(found["order"], 16), found["check"], found["form"])

    def fits(self, content: bytes) -> bool:
        """Whether this is the content that was written."""
        return _check(content) == self.check


def _check(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()


class Shelf(Protocol):
    """Where the results of one operation are kept."""

    def newest(self, key: str, now: float) -> tuple[Label, bytes] | None:
        """The newest result of a key, with its content as it lies there; None where there is none."""
        ...

    def put(self, label: Label, content: bytes, now: float, keep: int) -> None:
        """Keep a result, unless a newer one exists. Of all keys, keep those with the newest results."""
        ...


@dataclass(frozen=True)
class FileShelf:
    """A folder, or whatever fsspec reaches."""

    files: Files

    def newest(self, key: str, now: float) -> tuple[Label, bytes] | None:
        for _ in range(_TRIES):
            label = _newest(_labels_of(key, self.files.here()), now)
            if label is None:
                return None
            try:
                with self.files.open(label.name) as file:
                    return label, file.read()
            except FileNotFoundError:  # a newer one has just taken its place
                continue
        return None

    def put(self, label: Label, content: bytes, now: float, keep: int) -> None:
        there = self.files.here()
        own = _labels_of(label.key, there)
        if _newest([*own, label], now) != label:
            return  # a call that began later was faster
        self.files.write(label.name, content)
        for one in own:
            if one != label:
                self.files.remove(one.name)
        for name in _too_many(label.key, there, keep):
            self.files.remove(name)

    def tidy(self) -> None:
        """Remove what writers that were killed have left."""
        for name in list(self.files.leftovers(_LEFT_OVER)):
            self.files.remove(name)


def _labels_of(key: str, names: Iterable[str]) -> list[Label]:
    found = (Label.in_name(name) for name in names if name.startswith(f"{key}."))
    return [label for label in found if label is not None]


def _too_many(key: str, names: Iterable[str], keep: int) -> list[str]:
    """The files of the keys with the oldest results, besides `key`, where there are more than so many keys."""
    newest: dict[str, str] = {}
    for name in names:
        if _NAME.fullmatch(name) and not name.startswith(f"{key}."):
            other, _, when = name.partition(".")  # of which the text is in order of time
            newest[other] = max(when, newest.get(other, ""))
    oldest = set(sorted(newest, key=newest.__getitem__)[: max(0, len(newest) + 1 - keep)])
    return [name for name in names if _NAME.fullmatch(name) and name.partition(".")[0] in oldest] if oldest else []


def _newest(labels: Iterable[Label], now: float) -> Label | None:
    """The newest result: one from the future, written by a clock that was wrong, only where there is no other."""
    return max(labels, key=lambda one: (one.time <= now + _SKEW, one.moment, one.check), default=None)


def is_of_the_future(label: Label, now: float) -> bool:
    """Whether the age of a result is unknown, because the clock that dated it was wrong, or is now."""
    return label.time > now + _SKEW


def encoded(value: Any, serializer: Any = None, form: str = OWN) -> tuple[str, bytes]:
    """A value as bytes, and in which form.

    Args:
        value: A result. A frame becomes Parquet, if that holds all of it, unless the form is `OWN`: then all that
            there is goes through `serializer`. Without one, what JSON gives back as it was becomes JSON, and the rest
            a pickle.
        serializer: Has `dumps` and `loads`, as Prefect's have.
        form: The form of what it writes.

    Raises:
        UnkeepableError: If it cannot be written so that it can be read.
    """
    if _is_lazy(value):
        raise UnkeepableError("a LazyFrame is a plan, and holds no data: collect() it")
    try:
        if is_frame(value) and (serializer is None or form != OWN):
            content, whole = _parquet(value)
            if whole:
                return PARQUET, content
        if serializer is not None:
            written = serializer.dumps(value)
            return form, written.encode() if isinstance(written, str) else bytes(written)
        if _is_plain(value):
            return JSON, json.dumps(value).encode()
        import cloudpickle

        return PICKLE, cloudpickle.dumps(value)
    except Exception as error:
        raise UnkeepableError(
            f"{a(type(value).__qualname__)} cannot be written: {type(error).__name__}: {error}"
        ) from error


def decoded(label: Label, content: bytes, serializer: Any = None) -> Any:
    """The value that `encoded` was given.

    Raises:
        UnkeepableError: If the content is damaged, or nothing here can read its form.
    """
    if not label.fits(content):
        raise UnkeepableError("its file is damaged")
    try:
        match label.form:
            case "parquet":
                return _of_parquet(*parquet.decode(BytesIO(content), label.name))
            case "json":
                return json.loads(content)
            case "pickle":
                return pickle.loads(content)  # noqa: S301  # of a folder that the user vouches for
        if serializer is None:
            raise UnkeepableError(f"it was written by a serializer ({label.form}), and there is none now")  # noqa: TRY301
        return serializer.loads(content)
    except UnkeepableError:
        raise
    except Exception as error:
        raise UnkeepableError(f"it cannot be read: {type(error).__name__}: {error}") from error


def is_frame(value: Any) -> bool:
    """Whether a value is a frame that Parquet holds with all that it is: of pandas or polars, or an Arrow table."""
    kind = type(value)  # a subclass may hold more
    if (kind.__module__.partition(".")[0], kind.__name__) not in _FRAMES:
        return False
    return not (getattr(value, "attrs", None) or False)


_FRAMES = {("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")}


def _is_lazy(value: Any) -> bool:
    kind = type(value)
    return (kind.__module__.partition(".")[0], kind.__name__) == ("polars", "LazyFrame")


def _parquet(frame: Any) -> tuple[bytes, bool]:
    """A frame as Parquet, and whether that holds all of it: of what Arrow has no type for, it holds the text."""
    table, shape = stored(frame, range(len(frame)))
    labels = [decode(part["label"]) for part in shape["parts"]]
    whole = not any(part["json"] for part in shape["parts"]) and not any(map(_is_text_only, labels))
    axes = [_axis(getattr(frame, "index", None)), _axis(getattr(frame, "columns", None))]
    return parquet.encode(table, {"shape": shape, "axes": axes}), whole


def _is_text_only(label: Any) -> bool:
    return any(map(_is_text_only, label)) if isinstance(label, tuple) else isinstance(label, AsText)


def _axis(index: Any) -> list[Any] | None:
    """What an index of pandas is besides its values: a range, or a frequency."""
    match type(index).__name__:
        case "RangeIndex":
            return ["range", index.start, index.stop, index.step]
        case "DatetimeIndex" | "TimedeltaIndex" if index.freqstr:
            return ["freq", index.freqstr]
    return None


def _of_parquet(table: Any, facts: Mapping[str, Any]) -> Any:
    frame = restored(table, facts["shape"], range(table.num_rows))
    for axis, name in zip(facts["axes"], ("index", "columns"), strict=True):
        match axis:
            case ["range", start, stop, step]:
                import pandas as pd

                setattr(frame, name, pd.RangeIndex(start, stop, step, name=getattr(frame, name).name))
            case ["freq", freq]:
                getattr(frame, name).freq = freq
    return frame


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether JSON gives a value back as it was."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind in {str, int, bool, type(None)}:
        return True
    if depth > _DEPTH:
        return False
    if kind is list:
        return all(_is_plain(one, depth + 1) for one in value)
    return kind is dict and all(type(key) is str and _is_plain(one, depth + 1) for key, one in value.items())


def parts_of(value: Any) -> Iterable[Any] | None:
    """What a value of numpy, pandas, polars or pyarrow is made of, for `core.stable_keys`; None for any other."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if library == "numpy":
        return _parts_of_numpy(value)
    if is_frame(value):
        content, whole = _parquet(value.combine_chunks() if library == "pyarrow" else value)
        return (content,) if whole else _cells_of(value)
    if library in {"pandas", "polars"}:
        if hasattr(value, "to_frame"):
            return (value.name, *(parts_of(value.to_frame()) or ()))
        if kind.__name__ in _SCALARS:
            return (repr(value),)
    return None


def _cells_of(frame: Any) -> Iterable[Any]:
    """The labels and values of a frame, one by one: some of them may have no key."""
    if hasattr(frame, "iloc"):
        columns = [frame.iloc[:, at].tolist() for at in range(frame.shape[1])]
        return (list(frame.columns), frame.index.tolist(), *columns)
    if hasattr(frame, "to_pydict"):
        return (frame.to_pydict(),)
    return (frame.columns, *(series.to_list() for series in frame))


_SCALARS = {"Timestamp", "Timedelta", "Period", "Interval", "NaTType", "NAType"}


def _parts_of_numpy(value: Any) -> Iterable[Any] | None:
    dtype = getattr(value, "dtype", None)
    if dtype is None or not hasattr(value, "tobytes"):
        return (str(value),) if type(value).__name__.endswith("DType") else None
    if dtype.hasobject:
        return (value.shape, value.tolist())
    return (dtype.str, value.shape, value.tobytes())
