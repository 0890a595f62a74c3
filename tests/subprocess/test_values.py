"""A value returns from its process as plain pickle would restore it, whatever its type and size."""

import array
import collections
import dataclasses
import os
import pickle
import socket
import threading
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from resilient_tasks.subprocess import channel, serialization
from resilient_tasks.subprocess.channel import Channel, Message

SMALL, LARGE = channel._SMALL, channel._LARGE
PAGE = 4096


def through_a_channel(value):
    """Send a value from one end of a socket to the other, without a process."""
    ours, theirs = (Channel(sock) for sock in socket.socketpair())
    try:
        writer = threading.Thread(target=ours.send, args=[Message.CALL, serialization.pieces(value)])
        writer.start()
        _, data = theirs.receive()
        result = serialization.loads(data)
        writer.join(60)
        assert isinstance(data, bytes) or data.left == 0
        return result
    finally:
        ours.close()
        theirs.close()


def by_pickle(value):
    return pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def traits(value):  # noqa: PLR0911  # one a kind
    """Return the comparable properties of a value."""
    match value:
        case np.ndarray():
            flags = value.flags
            kind = (type(value), value.dtype, value.shape, flags.writeable, flags.c_contiguous, flags.f_contiguous)
            return kind, traits(value.tolist()) if value.dtype.hasobject else value.tobytes()
        case pd.DataFrame():
            return type(value), [*value.dtypes], value.to_dict("list")
        case pl.DataFrame() | pa.Table():
            return type(value), value.to_pandas().to_dict("list")
        case dict():
            return type(value), [(traits(key), traits(item)) for key, item in value.items()]
        case Row() | Blob():
            return type(value), traits(vars(value))
        case list() | tuple() | collections.deque():
            return type(value), [traits(item) for item in value]
        case _:
            return type(value), value


class Blob:
    """Pickled with a buffer, which may be out of band."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Blob, (pickle.PickleBuffer(self.data),)


class Bytes(bytes):
    pass


class Named(np.ndarray):
    pass


@dataclasses.dataclass
class Row:
    name: str
    values: object


def _read_only(values):
    values.flags.writeable = False
    return values


def _arrays(size):
    whole = np.arange(size // 8, dtype=np.int64)
    return {
        "as it is": whole,
        "read-only": _read_only(whole.copy()),
        "of constant bytes": np.frombuffer(whole.tobytes(), np.int64),
        "every second": np.arange(size // 4, dtype=np.int64)[::2],
        "backwards": whole[::-1],
        "Fortran's order": np.asfortranarray(whole[: size // 32 * 4].reshape(4, -1)),
        "transposed": whole[: size // 32 * 4].reshape(4, -1).T,
        "broadcast": np.broadcast_to(whole[:100], (3, len(whole[:100]))),
        "a view into the middle": whole[1:-1],
        "a custom class": whole.view(Named),
        "with names": np.zeros(size // 12, dtype=[("a", "i4"), ("b", "f8")]),
        "moments": whole.astype("M8[s]"),
        "texts": np.array(["ab"] * (size // 8)),
        "objects": np.array([1, "a", None, whole], dtype=object),
        "masked": np.ma.masked_less(whole, 3),
    }


def _values(size):
    frame = pd.DataFrame({"n": np.arange(size // 8), "s": pd.Series(["x"] * (size // 8), dtype=object)})
    return {
        **_arrays(size),
        "bytes": os.urandom(size),
        "bytearray": bytearray(os.urandom(size)),
        "bytes of a class": Bytes(os.urandom(size)),
        "ASCII": "a" * size,
        "other text": "é" * (size // 2),
        "half a pair": "\ud800" * (size // 3),
        "number": 1 << 8 * size,
        "array": array.array("d", bytes(size // 8 * 8)),
        "frame": frame,
        "text of a frame": pd.DataFrame({"s": [f"{n}" for n in range(size // 8)]}),
        "polars": pl.DataFrame({"n": np.arange(size // 8)}),
        "arrow": pa.table({"n": np.arange(size // 8), "s": ["x"] * (size // 8)}),
        "blob": Blob(os.urandom(size)),
        "changeable blob": Blob(bytearray(os.urandom(size))),
        "many": [np.arange(size // 80) for _ in range(10)],
        "the same twice": [*[np.arange(size // 8)] * 2],
        "nested": {"a": (Row("a", np.arange(size // 8)), collections.deque([bytearray(size)]))},
    }


#: Around the sizes at which the method changes: one piece or several, the buffer, large pages.
SIZES = [0, 8, SMALL - 256, SMALL, SMALL + 8, 2 * SMALL + 8, LARGE - 8, LARGE, LARGE + PAGE + 8]


@pytest.mark.parametrize("size", SIZES[:-3])
def test_every_kind_of_value_arrives_as_pickle_restores_it(size):
    for name, value in _values(size).items():
        assert traits(through_a_channel(value)) == traits(by_pickle(value)), name


@pytest.mark.parametrize("size", SIZES[-3:])
def test_values_in_large_pages_arrive_as_pickle_restores_them(size):
    for name, value in _arrays(size).items():
        if name not in ("texts", "moments", "with names"):  # which only take longer
            assert traits(through_a_channel(value)) == traits(by_pickle(value)), name
    for value in (os.urandom(size), bytearray(os.urandom(size)), Blob(bytearray(os.urandom(size)))):
        assert traits(through_a_channel(value)) == traits(by_pickle(value))


def test_the_same_object_twice_arrives_as_the_same_object_twice():
    first, second = through_a_channel([*[np.arange(LARGE // 8)] * 2])
    assert first is second


@pytest.mark.parametrize("size", [SMALL - 32 + more for more in range(64)])
def test_a_message_about_as_large_as_the_buffer_arrives_and_so_does_the_next(size):
    ours, theirs = (Channel(sock) for sock in socket.socketpair())

    def write():
        for number in (1, 2, 3):
            ours.send(Message.CALL, bytes([number]) * size)

    writer = threading.Thread(target=write)
    writer.start()
    for number in (1, 2, 3):
        _, data = theirs.receive()
        data = data if isinstance(data, bytes) else bytes(data.read(size))
        assert data == bytes([number]) * size
    writer.join(60)
    ours.close()
    theirs.close()


nested = st.recursive(
    st.none()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=200).map(lambda data: data * 1000)
    | st.binary(max_size=200).map(lambda data: bytearray(data * 1000))
    | nps.arrays(nps.scalar_dtypes(), nps.array_shapes(min_side=0, max_side=20)).map(lambda values: values.repeat(99)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(nested)
def test_nested_values_arrive_as_pickle_restores_them(value):
    assert repr(traits(through_a_channel(value))) == repr(traits(by_pickle(value)))


def given_back(value):
    return value


def test_values_return_from_a_process_as_pickle_restores_them(in_process):
    values = _values(SMALL + 8)
    for needs_imports_there in ("frame", "text of a frame", "polars", "arrow"):
        del values[needs_imports_there]
    assert traits(in_process(given_back)(values)) == traits(by_pickle(by_pickle(values)))


@pytest.mark.parametrize("size", [8, SMALL, LARGE + PAGE])
def test_an_array_that_comes_back_is_the_callers_own(size, in_process):
    kept = []

    def keep(value):
        for before in kept:
            before[:] = -1
        kept.append(value)
        return value

    keep = in_process(keep)
    mine = np.arange(size // 8)
    first = keep(mine)
    first += 1  # it can be written to
    second = keep(mine)
    assert np.array_equal(mine, np.arange(size // 8))
    assert np.array_equal(first, mine + 1)
    second[:] = 7
    assert np.array_equal(first, mine + 1)


def test_a_small_part_of_a_result_does_not_keep_the_large_parts_alive():
    value = {"large": np.ones(LARGE), "small": np.ones(SMALL)}
    tracemalloc.start()
    try:
        small = through_a_channel(value)["small"]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert small.nbytes <= held < 2 * small.nbytes + 2 * SMALL * 2
