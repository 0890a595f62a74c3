"""How often clients send a write by themselves, where its reply is lost or the service is busy: `make client-retries`.

    python tests/benchmarks/client_retries.py [--client NAME] [--limit 400] [--page docs/measured.md]

A server on loopback reads each request to its end, counts it, and closes the connection, or answers 503. Each client
makes one write in a process of its own, with its own settings, and again with those for a single attempt.
"""

import argparse
import importlib.metadata
import json
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kinds.servers import HOST, http_answer, read_request, serving
from setting import machine, say, table, write_into
from writing_clients import CLIENTS

LOST, BUSY = "the reply is lost", "503"
HEAD = ("client", "write", "sent, reply lost", "", "sent, 503", "", "for a single attempt", "then sent")
AT_ONCE = 8
_KNOWN = http_answer(200, {}, {"X-Elastic-Product": "Elasticsearch"})
_REFUSED = http_answer(503, {"message": "busy"})
_READS = (b"GET ", b"HEAD ")


@dataclass(frozen=True)
class Seen:
    """What one call of a client sent: how often, and the seconds until it gave up; and its error."""

    sent: int
    seconds: float
    error: str
    given_up: bool = True

    def cells(self) -> tuple[str, str]:
        often = f"{self.sent} ×" if self.given_up else f"over {self.sent - 1} ×"
        return (often, f"{self.seconds:.1f} s")


@contextmanager
def counting(how: str) -> Iterator[tuple[str, Callable[[], int]]]:
    """Yield the URL of the server, and a function that returns how many writes it has read."""
    writes: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        connection.settimeout(30)
        request = read_request(connection)
        if not request:
            return
        if request.startswith(_READS):
            connection.sendall(_KNOWN)
            return
        writes.append(request)
        if how == BUSY:
            connection.sendall(_REFUSED)

    with serving(handle) as port:
        yield f"http://{HOST}:{port}", lambda: len(writes)


@contextmanager
def counting_increments() -> Iterator[tuple[str, Callable[[], int]]]:
    """Yield the address of a server that speaks Redis, executes increments, and loses the replies."""
    writes: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        while command := connection.recv(65536):
            if b"INCR" in command:
                writes.append(command)
                return
            connection.sendall(b"+OK\r\n")

    with serving(handle) as port:
        yield f"http://{HOST}:{port}", lambda: len(writes)


def measured(name: str, how: str, limit: float, *, once: bool) -> Seen | None:
    """Return what the client sent; None for a service that has no 503."""
    if name == "redis" and how == BUSY:
        return None
    command = [sys.executable, __file__, "--call", name, *(["--once"] if once else [])]
    with counting_increments() if name == "redis" else counting(how) as (url, sent):
        try:
            ended = subprocess.run([*command, "--url", url], capture_output=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            return Seen(sent(), limit, f"went on after {limit:g} s", given_up=False)
        count = sent()
    if not count:
        raise RuntimeError(f"{name} sent nothing: {ended.stdout.decode()} {ended.stderr.decode()[-2000:]}")
    found = json.loads(ended.stdout.splitlines()[-1])
    return Seen(count, found["seconds"], found["error"])


def call(name: str, url: str, *, once: bool) -> None:
    """Make the write in this process, and print how long it took, and the error."""
    began, error = time.monotonic(), "no error"
    try:
        CLIENTS[name].write(url, **({"once": once} if CLIENTS[name].single else {}))
    except Exception as raised:  # each client has errors of its own
        error = f"{type(raised).__name__}: {raised}"
    print(json.dumps({"seconds": time.monotonic() - began, "error": error[:300]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--client", choices=CLIENTS, help="only this one")
    parser.add_argument("--limit", type=float, default=400, help="seconds after which a call is ended")
    parser.add_argument("--page", type=Path, help="the Markdown page to write the table into")
    parser.add_argument("--errors", action="store_true", help="print the errors that the clients raised")
    parser.add_argument("--call", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.call:
        call(given.call, given.url, once=given.once)
        return
    names = [given.client] if given.client else sorted(CLIENTS, key=str.lower)
    cases = [
        (name, how, once)
        for once in (False, True)  # the long ones first
        for name in names
        for how in (LOST, BUSY)
        if CLIENTS[name].single or not once
    ]
    done: dict[tuple[str, str, bool], Seen | None] = {}

    def measure(case: tuple[str, str, bool]) -> None:
        name, how, once = case
        seen = done[case] = measured(name, how, given.limit, once=once)
        if seen:
            setting = "a single attempt" if once else "its own setting"
            say(f"{len(done)}/{len(cases)}: {name}, {how}, {setting}: {' in '.join(seen.cells())}")
            if given.errors:
                say(f"    {seen.error}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(measure, cases))
    text = tables(names, done, markdown=bool(given.page))
    if given.page:
        write_into(given.page, "client-retries", f"{machine()}.\n\n{text}")
    print(text)


def tables(names: list[str], done: dict[tuple[str, str, bool], Seen | None], *, markdown: bool) -> str:
    """Lay out the clients that send more than once, and name the others below."""
    rows, others = [], []
    for name in names:
        client = CLIENTS[name]
        titled = f"{name} {importlib.metadata.version(client.distribution)}"
        own, single = ([done.get((name, how, once)) for how in (LOST, BUSY)] for once in (False, True))
        if all(seen.sent == 1 for seen in own if seen):
            others.append(f"{titled} `{client.method}`")
            continue
        cells = [cell for seen in own for cell in (seen.cells() if seen else ("", ""))]
        still = f"{max(seen.sent for seen in single if seen)} ×" if client.single else ""
        rows.append((titled, f"`{client.method}`", *cells, client.single or "there is none", still))
    rest = textwrap.fill(f"Sent once in both: {', '.join(others)}.", 120, break_on_hyphens=False)
    return f"{table(HEAD, rows, markdown=markdown)}\n\n{rest}"


if __name__ == "__main__":
    main()
