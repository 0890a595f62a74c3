# ruff: noqa: E501 -- one case, one line
"""The standard library's own errors: mail, files, processes, SQLite."""

import asyncio
import contextlib
import gzip
import io
import json
import socket
import subprocess
import sys
from concurrent import futures
from pathlib import Path
from typing import Any

from .corpus import MALFORMED, PERMANENT, RESOURCE, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import HOST, UNRESOLVABLE, closed_port, folder, hang, reset, serving

SHORT = 0.3


# socket and ssl


@case("socket", "ConnectionRefusedError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    return socket.create_connection((HOST, closed_port()), timeout=SHORT)


@case("socket", "gaierror", "unresolvable name", TRANSIENT, "name servers fail for a while")
def _() -> Any:
    return socket.create_connection((UNRESOLVABLE, 80), timeout=SHORT)


@case("socket", "TimeoutError", "no answer", TIMEOUT, "the next call may be answered")
def _() -> Any:
    with serving(hang) as port, socket.create_connection((HOST, port), timeout=0.2) as connection:
        return connection.recv(1)


@case("socket", "ConnectionResetError", "reset", TRANSIENT, "a broken connection")
def _() -> Any:
    with serving(reset) as port, socket.create_connection((HOST, port), timeout=1) as connection:
        return connection.recv(1)


@case("socket", "BlockingIOError", "EAGAIN: nothing there yet", TRANSIENT, "'try again' is its name")
def _() -> Any:
    one, _other = socket.socketpair()
    one.setblocking(False)
    return one.recv(1)


@case("socket", "OSError", "ESTALE: a stale file handle of NFS", TRANSIENT, "opened anew, it is there", built=True)
def _() -> Any:
    import errno

    return OSError(errno.ESTALE, "Stale file handle")


@case("socket", "OSError", "the network is unreachable", TRANSIENT, "networks come back", built=True)
def _() -> Any:
    import errno

    return OSError(errno.ENETUNREACH, "Network is unreachable")


@case(
    "socket",
    "PermissionError",
    "a port below 1024, or a file of another user",
    PERMANENT,
    "the right is missing",
    built=True,
)
def _() -> Any:
    import errno

    return PermissionError(errno.EACCES, "Permission denied")


@case("socket", "gaierror", "a service that has no name", PERMANENT, "EAI_SERVICE: the caller's mistake")
def _() -> Any:
    return socket.create_connection((HOST, "no-such-service"), timeout=SHORT)


# processes


@case("subprocess", "TimeoutExpired", "it takes too long", TIMEOUT, "it may be quicker next time")
def _() -> Any:
    return subprocess.run(["sleep", "5"], check=False, timeout=0.1)


@case("subprocess", "CalledProcessError", "exit status 2", PERMANENT, "the program refuses what it is given")
def _() -> Any:
    return subprocess.run(["ls", "--no-such-option"], check=True, capture_output=True)


@case("subprocess", "FileNotFoundError", "no such program", PERMANENT, "it is not installed")
def _() -> Any:
    return subprocess.run(["no-such-program"], check=False)


@case("asyncio", "TimeoutError", "wait_for", TIMEOUT, "the next call may be quicker")
async def _() -> Any:
    await asyncio.wait_for(asyncio.sleep(5), 0.05)


@case("asyncio", "ExceptionGroup", "two calls of a TaskGroup, both reset", TRANSIENT, "each of its errors is")
async def _() -> Any:
    await _together(ConnectionResetError(104, "reset"), ConnectionRefusedError(111, "refused"))


@case("asyncio", "ExceptionGroup", "two calls of a TaskGroup, one with a bug", PERMANENT, "one of its errors is")
async def _() -> Any:
    await _together(ConnectionResetError(104, "reset"), KeyError("tailnum"))


async def _together(*errors: Exception) -> None:
    async def fail(error: Exception) -> None:
        await asyncio.sleep(0)
        raise error

    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fail(error))


@case("asyncio", "QueueEmpty", "nothing in the queue", frozenset({PERMANENT}), "a question of the program's flow")
def _() -> Any:
    return asyncio.Queue().get_nowait()


@case("concurrent.futures", "TimeoutError", "the result is late", TIMEOUT, "it may be quicker next time")
def _() -> Any:
    return futures.Future().result(0.05)


@case("concurrent.futures", "BrokenProcessPool", "a worker was killed", RESOURCE, "memory ran out, mostly")
def _() -> Any:
    code = (
        "import os, pickle, sys\nfrom concurrent.futures import ProcessPoolExecutor as Pool\n"
        "try: Pool(1).submit(os._exit, 9).result()\n"
        "except Exception as error: sys.stdout.buffer.write(pickle.dumps(error))"
    )
    import pickle

    raise pickle.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


@case("multiprocessing", "TimeoutError", "the pool's result is late", TIMEOUT, "it may be quicker next time")
def _() -> Any:
    from multiprocessing.pool import ThreadPool

    with ThreadPool(1) as pool:
        return pool.apply_async(lambda: __import__("time").sleep(0.3)).get(0.05)


@case("multiprocessing", "AuthenticationError", "another key", PERMANENT, "the key is wrong")
def _() -> Any:
    from multiprocessing.connection import Client, Listener
    from threading import Thread

    with Listener((HOST, 0), authkey=b"a") as listener:
        Thread(target=_refuse, args=(listener,), daemon=True).start()
        return Client(listener.address, authkey=b"b")


def _refuse(listener: Any) -> None:
    with contextlib.suppress(Exception):
        listener.accept()


@case("multiprocessing", "ConnectionRefusedError", "refused", TRANSIENT, "the process may be starting")
def _() -> Any:
    from multiprocessing.connection import Client

    return Client((HOST, closed_port()), authkey=b"a")


@case("http.client", "CannotSendRequest", "a second request before the first answer", PERMANENT, "the caller's mistake")
def _() -> Any:
    from http.client import HTTPConnection

    with serving(hang) as port:
        connection = HTTPConnection(HOST, port, timeout=SHORT)
        for _ in range(2):
            connection.request("GET", "/")


@case("http.client", "InvalidURL", "a blank in the path", PERMANENT, "the caller's mistake")
def _() -> Any:
    from http.client import HTTPConnection

    return HTTPConnection(HOST, closed_port(), timeout=SHORT).request("GET", "/a b")


@case(
    "http.client", "IncompleteRead", "body cut short", MALFORMED, "a body shorter than it says; by definition malformed"
)
def _() -> Any:
    from http.client import HTTPConnection

    from .servers import WEB

    with serving(WEB["body cut short"]) as port:
        connection = HTTPConnection(HOST, port, timeout=SHORT)
        connection.request("GET", "/")
        return connection.getresponse().read()


OWN = (
    ("InvalidConnectionString", ValueError, "no host in it"),
    ("UnknownTimeoutUnit", KeyError, "fortnights"),
    ("RateLimitNotANumber", TypeError, "a word"),
)
for _name, _base, _words in OWN:

    @case(
        "your own code",
        _name,
        f"a {_base.__name__}",
        PERMANENT,
        "a mistake in what was given, whatever its name",
        built=True,
    )
    def _(name=_name, base=_base, words=_words) -> Any:
        return type(name, (base,), {"__module__": "flights"})(words)


# files and formats


def _scratch(name: str, content: bytes = b"") -> Path:
    path = folder() / name
    path.write_bytes(content)
    return path


FORMATS = (
    ("gzip", "BadGzipFile", "no gzip", lambda: gzip.decompress(b"text")),
    ("gzip", "EOFError", "cut short", lambda: gzip.decompress(gzip.compress(b"text" * 99)[:-12])),
    ("lzma", "LZMAError", "no xz", lambda: __import__("lzma").decompress(b"text" * 9)),
    ("zipfile", "BadZipFile", "no zip", lambda: __import__("zipfile").ZipFile(io.BytesIO(b"text"))),
    ("tarfile", "ReadError", "no tar", lambda: __import__("tarfile").open(_scratch("a.tar", b"text"))),
    ("json", "JSONDecodeError", "HTML", lambda: json.loads("<html>")),
    ("csv", "Error", "an open quotation mark", lambda: list(__import__("csv").reader(['"a'], strict=True))),
    ("xml", "ParseError", "cut short", lambda: __import__("xml.etree.ElementTree").etree.ElementTree.fromstring("<a>")),
    ("tomllib", "TOMLDecodeError", "no TOML", lambda: __import__("tomllib").loads("a = = 1")),
    ("configparser", "MissingSectionHeaderError", "no section", lambda: __import__("configparser").ConfigParser().read_string("a=1")),
    ("pickle", "UnpicklingError", "no pickle", lambda: __import__("pickle").loads(b"text")),
    ("binascii", "Error", "wrong padding of base64", lambda: __import__("base64").b64decode("abc")),
)  # fmt: skip
for _library, _error, _what, _make in FORMATS:
    _wanted = UNFIT if _library in {"configparser", "binascii", "pickle", "tomllib", "tarfile"} else MALFORMED

    @case(_library, _error, _what, _wanted, "the data does not parse")
    def _(make=_make) -> Any:
        return make()
