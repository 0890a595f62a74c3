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
import tempfile
from concurrent import futures
from pathlib import Path
from typing import Any

from .corpus import MALFORMED, PERMANENT, RESOURCE, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import HOST, UNRESOLVABLE, closed_port, hang, reset, serving, speaks

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


# ftplib, imaplib, poplib, smtplib


def _ftp(*replies: str) -> Any:
    from ftplib import FTP

    with serving(speaks(b"220 ready\r\n", *(f"{reply}\r\n".encode() for reply in replies))) as port:
        ftp = FTP(timeout=SHORT)
        ftp.connect(HOST, port)
        ftp.login("bob", "pw")
        return ftp.nlst()


@case("ftplib", "error_temp", "421: too many connections", TRANSIENT, "FTP's 4xx are for now")
def _() -> Any:
    return _ftp("421 Too many connections")


@case("ftplib", "error_temp", "450: the file is in use", TRANSIENT, "FTP's 4xx are for now")
def _() -> Any:
    return _ftp("230 in", "200 type", "450 File busy")


@case("ftplib", "error_perm", "530: wrong password", PERMANENT, "it stays wrong")
def _() -> Any:
    return _ftp("530 Login incorrect")


@case("ftplib", "TimeoutError", "no greeting", TIMEOUT, "the next call may be answered")
def _() -> Any:
    from ftplib import FTP

    with serving(hang) as port:
        return FTP(timeout=0.2).connect(HOST, port)


def _imap(answer: bytes) -> Any:
    import imaplib

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"* OK ready\r\n")
        for reply in (b"* CAPABILITY IMAP4rev1\r\n%s OK done\r\n", answer):
            tag = connection.recv(4096).split()[0]
            connection.sendall(reply % tag if b"%s" in reply else reply)

    with serving(handler) as port:
        return imaplib.IMAP4(HOST, port, timeout=1).login("bob", "pw")


@case("imaplib", "abort", "hangs up in the login", TRANSIENT, "'abort' asks for a new connection")
def _() -> Any:
    return _imap(b"")


@case("imaplib", "abort", "BYE: the server shuts down", TRANSIENT, "'abort' asks for a new connection")
def _() -> Any:
    return _imap(b"* BYE shutting down\r\n")


@case("imaplib", "error", "wrong password", PERMANENT, "it stays wrong")
def _() -> Any:
    return _imap(b"%s NO [AUTHENTICATIONFAILED] Invalid credentials\r\n")


@case("poplib", "error_proto", "-ERR [SYS/TEMP]", TRANSIENT, "RFC 3206: the fault is for now")
def _() -> Any:
    import poplib

    with serving(speaks(b"+OK ready\r\n", b"-ERR [SYS/TEMP] try again later\r\n")) as port:
        return poplib.POP3(HOST, port, timeout=1).user("bob")


@case("poplib", "error_proto", "-ERR [AUTH]", PERMANENT, "RFC 3206: the credentials are wrong")
def _() -> Any:
    import poplib

    with serving(speaks(b"+OK ready\r\n", b"-ERR [AUTH] Authentication failed\r\n")) as port:
        return poplib.POP3(HOST, port, timeout=1).user("bob")


def _smtp(*replies: str) -> Any:
    import smtplib

    with serving(speaks(*(f"{reply}\r\n".encode() for reply in replies))) as port:
        client = smtplib.SMTP(HOST, port, timeout=SHORT)
        return client.sendmail("a@example.org", ["b@example.org"], "text")


SMTP = (
    ("SMTPConnectError", "421 as the greeting", TRANSIENT, "busy for now", ("421 busy",)),
    (
        "SMTPRecipientsRefused",
        "450: greylisted",
        TRANSIENT,
        "asks to come again",
        ("220 hi", "250 me", "250 ok", "450 later"),
    ),
    (
        "SMTPRecipientsRefused",
        "550: no such user",
        PERMANENT,
        "stays unknown",
        ("220 hi", "250 me", "250 ok", "550 who?"),
    ),
    (
        "SMTPSenderRefused",
        "452: out of storage for now",
        TRANSIENT,
        "SMTP's 4xx are for now",
        ("220 hi", "250 me", "452 full"),
    ),
    ("SMTPDataError", "554: spam", PERMANENT, "SMTP's 5xx stay", ("220 hi", "250 me", "250 ok", "250 ok", "554 spam")),
)
for _error, _what, _wanted, _reason, _replies in SMTP:

    @case("smtplib", _error, _what, _wanted, _reason)
    def _(replies=_replies) -> Any:
        return _smtp(*replies)


@case("smtplib", "SMTPServerDisconnected", "hangs up", TRANSIENT, "a broken connection")
def _() -> Any:
    import smtplib

    with serving(lambda connection: None) as port:
        return smtplib.SMTP(HOST, port, timeout=SHORT)


@case("smtplib", "SMTPNotSupportedError", "the server offers no login", PERMANENT, "it does not learn it")
def _() -> Any:
    import smtplib

    with serving(speaks(b"220 hi\r\n", b"250 me\r\n")) as port:
        return smtplib.SMTP(HOST, port, timeout=SHORT).login("bob", "pw")


# xmlrpc


@case("xmlrpc", "ProtocolError", "503", TRANSIENT, "unavailable for now")
def _() -> Any:
    return _xmlrpc(503, "no")


@case("xmlrpc", "ProtocolError", "401", PERMANENT, "no right to it")
def _() -> Any:
    return _xmlrpc(401, "no")


@case("xmlrpc", "ExpatError", "HTML where XML is expected", MALFORMED, "it does not parse")
def _() -> Any:
    return _xmlrpc(200, "<html><br></html>")


@case("xmlrpc", "Fault", "no such method", PERMANENT, "the server's answer to a wrong call", built=True)
def _() -> Any:
    from xmlrpc.client import Fault

    return Fault(-32601, "method not found")


def _xmlrpc(status: int, body: str) -> Any:
    from xmlrpc.client import ServerProxy

    from .servers import answering

    with answering(status, body, {"Content-Type": "text/xml"}) as url:
        return ServerProxy(url).flights()


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


@case(
    "asyncio", "IncompleteReadError", "the peer hangs up in mid-message", frozenset({MALFORMED}), "a message cut short"
)
def _() -> Any:
    async def read() -> None:
        with serving(lambda connection: connection.sendall(b"ab")) as port:
            reader, _ = await asyncio.open_connection(HOST, port)
            await reader.readexactly(10)

    return read()


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
    path = Path(tempfile.mkdtemp(prefix="kinds-")) / name
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
