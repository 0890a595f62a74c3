"""Six seconds of work of every sort. It leaves signs of life in a file: when it begins, and whenever it is left.

What is killed leaves no second sign; what runs on after its limit leaves one that is too late.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

LASTS = 6.0  # seconds
WARM_UP = "a quick call"


def sign(signs: str) -> None:
    with Path(signs).open("a", encoding="ascii") as file:
        file.write(f"{time.time()}\n")


def overlong(work: str, signs: str, port: int, steps: int) -> None:
    """Do `work`: `port` is that of a server which says nothing for six seconds, `steps` the size of a long C call."""
    sign(signs)
    try:
        if work in WAITS:
            WAITS[work](signs, port)
        elif work == "a tight loop":
            _tight_loop()
        elif work == "one long C call":
            sum(range(steps))  # neither returns to Python nor checks for signals meanwhile
    finally:
        sign(signs)


def _wait_for_a_lock(_signs: str, _port: int) -> None:
    lock = threading.Lock()
    lock.acquire()
    holder = threading.Timer(LASTS, lock.release)
    holder.daemon = True
    holder.start()
    lock.acquire()


_CHILD = f"import sys, time; time.sleep({LASTS}); open(sys.argv[1], 'a').write(f'{{time.time()}}\\n')"


def _child(signs: str) -> list[str]:
    return [sys.executable, "-S", "-c", _CHILD, signs]


def _read_a_socket(_signs: str, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.recv(1)


def _tight_loop() -> None:
    until = time.monotonic() + LASTS
    while time.monotonic() < until:
        pass


def _swallow_everything(_signs: str, _port: int) -> None:
    until = time.monotonic() + LASTS
    while time.monotonic() < until:
        with contextlib.suppress(BaseException):
            time.sleep(0.05)


WAITS = {
    "time.sleep": lambda _signs, _port: time.sleep(LASTS),
    "a lock": _wait_for_a_lock,
    "a subprocess": lambda signs, _port: subprocess.run(_child(signs), check=True),
    "a socket read": _read_a_socket,
    "a body that swallows everything": _swallow_everything,
}
BUSY = ("a tight loop", "one long C call")


async def overlong_async(work: str, signs: str, port: int, steps: int) -> None:
    """As `overlong`, written as async code. What has no async form blocks the event loop."""
    sign(signs)
    try:
        if work in ASYNC_WAITS:
            await ASYNC_WAITS[work](signs, port)
        elif work == "a tight loop":
            _tight_loop()
        elif work == "one long C call":
            sum(range(steps))
        elif work == BLOCKING:
            time.sleep(LASTS)  # noqa: ASYNC251  # the mistake that is measured
    finally:
        sign(signs)


async def _await_a_lock(_signs: str, _port: int) -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    asyncio.get_running_loop().call_later(LASTS, lock.release)
    await lock.acquire()


async def _await_a_subprocess(signs: str, _port: int) -> None:
    process = await asyncio.create_subprocess_exec(*_child(signs))
    try:
        await process.wait()
    finally:  # unlike subprocess.run, asyncio does not end the child
        if process.returncode is None:
            process.kill()


async def _await_a_socket(_signs: str, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        await reader.read(1)


async def _swallow_every_cancellation(_signs: str, _port: int) -> None:
    until = time.monotonic() + LASTS
    while time.monotonic() < until:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(0.05)


BLOCKING = "time.sleep in async code"
ASYNC_WAITS = {
    "asyncio.sleep": lambda _signs, _port: asyncio.sleep(LASTS),
    "a lock": _await_a_lock,
    "a subprocess": _await_a_subprocess,
    "a socket read": _await_a_socket,
    "a body that swallows everything": _swallow_every_cancellation,
}
ASYNC_BUSY = (*BUSY, BLOCKING)
