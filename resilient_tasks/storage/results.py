# ruff: noqa: PLC0415 - pyarrow, cloudpickle and fsspec load on first use
"""Stored results: bytes in files whose names hold the key, the time and a checksum.

    <folder>/<operation>/<key>.<time>-<order>.<check>.<form>

`key` is the key of the arguments, `time` the start of the call, `order` its rank among calls of the same moment,
`check` a digest of the content, and `form` its format. Files are immutable: a newer result is another file, written
atomically, which replaces the older ones of its key. So concurrent and slow writers do no harm.
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
from resilient_tasks.storage.arrow import from_arrow, to_arrow
from resilient_tasks.storage.files import Files
from resilient_tasks.storage.values import AsText, decode

PARQUET, JSON, PICKLE, OWN = "parquet", "json", "pickle", "data"

_SKEW = 60.0
"""Clock skew between two machines, in seconds."""
_LEFT_OVER = 3600.0  # seconds; no write takes that long
_TRIES = 3
_NAME = re.compile(
    r"(?P<key>[0-9a-f]{32})\.(?P<time>[0-9]{8}T[0-9]{6}\.[0-9]{6}Z)-(?P<order>[0-9a-f]{16})\.(?P<check>[0-9a-f]{16})\.(?P<form>[a-z]+)"
)
_TIME = "%Y%m%dT%H%M%S.%fZ"
_DEPTH = 100

_FRAMES = {("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")}
_SCALARS = {"Timestamp", "Timedelta", "Period", "Interval", "NaTType", "NAType"}


class UnstorableError(ValueError):
    """A result cannot be stored, or a stored result cannot be read."""


class Moment(NamedTuple):
    """The start of a call: `time` in unix seconds, and `order` among calls of the same moment."""

    time: float
    order: int


@dataclass(frozen=True)
class Label:
    """The contents of a result's file name.

    Attributes:
        key: The key of the arguments.
        time: The start of the call, in unix seconds.
        order: The rank among calls of the same moment; greater for a later call.
        check: A digest of the content.
        form: The format: `parquet`, `json`, `pickle`, or `data` for a user's serializer.
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
        """Return the label of a content."""
        return cls(key, began.time, began.order, _check(content), form)

    @property
    def moment(self) -> tuple[float, int]:
        """The start of the call, for comparison."""
        return self.time, self.order

    @classmethod
    def in_name(cls, name: str) -> Label | None:
        """Return the label in a file name; None for other files."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        try:
            when = dt.datetime.strptime(found["time"], _TIME).replace(tzinfo=dt.UTC)
        except ValueError:
            return None
        return cls(found["key"], when.timestamp(), int(found["order"], 16), found["check"], found["form"])

    def fits(self, content: bytes) -> bool:
        """Return whether the content is intact."""
        return _check(content) == self.check


def _check(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()


class StoredResults(Protocol):
    """The stored results of one operation."""

    def newest(self, key: str, now: float) -> tuple[Label, bytes] | None:
        """Return the newest result of a key with its content; None if there is none."""
        ...

    def put(self, label: Label, content: bytes, now: float, keep: int) -> None:
        """Store a result unless a newer one exists; keep only the `keep` keys with the newest results."""
        ...


@dataclass(frozen=True)
class FileResults:
    """Results in a folder or at a URL."""

    files: Files

    def newest(self, key: str, now: float) -> tuple[Label, bytes] | None:
        for _ in range(_TRIES):
            label = _newest(_labels_of(key, self.files.here()), now)
            if label is None:
                return None
            try:
                with self.files.open(label.name) as file:
                    return label, file.read()
            except FileNotFoundError:  # just replaced by a newer one
                continue
        return None

    def put(self, label: Label, content: bytes, now: float, keep: int) -> None:
        there = self.files.here()
        own = _labels_of(label.key, there)
        if _newest([*own, label], now) != label:
            return  # a later call was faster
        self.files.write(label.name, content)
        for one in own:
            if one != label:
                self.files.remove(one.name)
        for name in _evicted(label.key, there, keep):
            self.files.remove(name)

    def tidy(self) -> None:
        """Remove the temporary files of killed writers."""
        for name in list(self.files.leftovers(_LEFT_OVER)):
            self.files.remove(name)


def _labels_of(key: str, names: Iterable[str]) -> list[Label]:
    found = (Label.in_name(name) for name in names if name.startswith(f"{key}."))
    return [label for label in found if label is not None]


def _evicted(key: str, names: Iterable[str], keep: int) -> list[str]:
    """Return the files of the oldest keys other than `key`, in excess of `keep` keys."""
    newest: dict[str, str] = {}
    for name in names:
        if _NAME.fullmatch(name) and not name.startswith(f"{key}."):
            other, _, when = name.partition(".")  # the text sorts by time
            newest[other] = max(when, newest.get(other, ""))
    oldest = set(sorted(newest, key=newest.__getitem__)[: max(0, len(newest) + 1 - keep)])
    return [name for name in names if _NAME.fullmatch(name) and name.partition(".")[0] in oldest] if oldest else []


def _newest(labels: Iterable[Label], now: float) -> Label | None:
    """Return the newest result; one dated in the future, by a wrong clock, only if there is no other."""
    return max(labels, key=lambda one: (one.time <= now + _SKEW, one.moment, one.check), default=None)


def is_in_the_future(label: Label, now: float) -> bool:
    """Return whether a result is dated in the future, so that its age is unknown: a clock is or was wrong."""
    return label.time > now + _SKEW


def encoded(value: Any, serializer: Any = None, form: str = OWN) -> tuple[str, bytes]:
    """Encode a value as bytes, and return its format with them.

    Args:
        value: A result. A frame becomes Parquet if that is lossless, unless the format is `OWN`: then everything goes
            through `serializer`. Without a serializer, values that JSON preserves become JSON, and others a pickle.
        serializer: An object with `dumps` and `loads`, like Prefect's serializers.
        form: The format that the serializer writes.

    Raises:
        UnstorableError: If it cannot be encoded reversibly.
    """
    if _kind(value) == ("polars", "LazyFrame"):
        raise UnstorableError("a LazyFrame is a plan, and holds no data: collect() it")
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
        raise UnstorableError(
            f"{a(type(value).__qualname__)} cannot be written: {type(error).__name__}: {error}"
        ) from error


def decoded(label: Label, content: bytes, serializer: Any = None) -> Any:
    """Decode the value that `encoded` was given.

    Raises:
        UnstorableError: If the content is damaged, or its format is unknown here.
    """
    if not label.fits(content):
        raise UnstorableError("its file is damaged")
    try:
        match label.form:
            case "parquet":
                return _of_parquet(*parquet.decode(BytesIO(content), label.name))
            case "json":
                return json.loads(content)
            case "pickle":
                return pickle.loads(content)  # noqa: S301  # from a folder that the user trusts
        if serializer is None:
            raise UnstorableError(f"it needs a serializer ({label.form}), and none is configured")  # noqa: TRY301
        return serializer.loads(content)
    except UnstorableError:
        raise
    except Exception as error:
        raise UnstorableError(f"it cannot be read: {type(error).__name__}: {error}") from error


def is_frame(value: Any) -> bool:
    """Return whether Parquet preserves all of a value: a pandas or polars frame, or an Arrow table."""
    return _kind(value) in _FRAMES and not (getattr(value, "attrs", None) or False)


def _kind(value: Any) -> tuple[str, str]:
    kind = type(value)  # and not a base class: a subclass may hold more
    return kind.__module__.partition(".")[0], kind.__name__


def _parquet(frame: Any) -> tuple[bytes, bool]:
    """Return a frame as Parquet, and whether that is lossless: values without an Arrow type become text."""
    table, shape = to_arrow(frame, range(len(frame)))
    labels = [decode(part["label"]) for part in shape["parts"]]
    whole = not any(part["json"] for part in shape["parts"]) and not any(map(_is_text_only, labels))
    axes = [_axis(getattr(frame, "index", None)), _axis(getattr(frame, "columns", None))]
    return parquet.encode(table, {"shape": shape, "axes": axes}), whole


def _is_text_only(label: Any) -> bool:
    return any(map(_is_text_only, label)) if isinstance(label, tuple) else isinstance(label, AsText)


def _axis(index: Any) -> list[Any] | None:
    """Return what a pandas index has besides values: a range, or a frequency."""
    match type(index).__name__:
        case "RangeIndex":
            return ["range", index.start, index.stop, index.step]
        case "DatetimeIndex" | "TimedeltaIndex" if index.freqstr:
            return ["freq", index.freqstr]
    return None


def _of_parquet(table: Any, facts: Mapping[str, Any]) -> Any:
    frame = from_arrow(table, facts["shape"], range(table.num_rows))
    for axis, name in zip(facts["axes"], ("index", "columns"), strict=True):
        match axis:
            case ["range", start, stop, step]:
                import pandas as pd

                setattr(frame, name, pd.RangeIndex(start, stop, step, name=getattr(frame, name).name))
            case ["freq", freq]:
                getattr(frame, name).freq = freq
    return frame


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Return whether JSON preserves a value."""
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


def key_parts(value: Any) -> Iterable[Any] | None:
    """Return the parts of a numpy, pandas, polars or pyarrow value for `core.stable_keys`; None for others."""
    library, name = _kind(value)
    if library == "numpy":
        return _parts_of_numpy(value)
    if is_frame(value):
        content, whole = _parquet(value.combine_chunks() if library == "pyarrow" else value)
        return (content,) if whole else _cells_of(value)
    if library in {"pandas", "polars"}:
        if hasattr(value, "to_frame"):
            return (value.name, *(key_parts(value.to_frame()) or ()))
        if name in _SCALARS:
            return (repr(value),)
    return None


def _cells_of(frame: Any) -> Iterable[Any]:
    """Return the labels and values of a frame, one by one: some may have no key."""
    if hasattr(frame, "iloc"):
        columns = [frame.iloc[:, at].tolist() for at in range(frame.shape[1])]
        return (list(frame.columns), frame.index.tolist(), *columns)
    if hasattr(frame, "to_pydict"):
        return (frame.to_pydict(),)
    return (frame.columns, *(series.to_list() for series in frame))


def _parts_of_numpy(value: Any) -> Iterable[Any] | None:
    dtype = getattr(value, "dtype", None)
    if dtype is None or not hasattr(value, "tobytes"):
        return (str(value),) if type(value).__name__.endswith("DType") else None
    if dtype.hasobject:
        return (value.shape, value.tolist())
    return (dtype.str, value.shape, value.tobytes())
