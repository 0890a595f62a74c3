"""The processes around the flow: the failing API and a Prefect server. They always end with the run."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).parent
_PATIENCE = 300.0  # seconds: a Prefect server takes 10 to 30, and minutes on a very busy machine


class Waiting:
    """Progress lines: what is waited for, and every few seconds for how long."""

    def __init__(self, what: str, every: float = 5) -> None:
        self._what, self._every = what, every
        self._began = self._reported = time.monotonic()
        print(f"{what} ...", flush=True)

    def report(self, so_far: str = "") -> None:
        """Print the seconds so far, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._reported >= self._every:
            self._reported = now
            print(f"{now - self._began:5.0f} s  still {self._what}{so_far}", flush=True)


class CannotStartError(RuntimeError):
    """A server did not start; the message gives the reason and what to do."""


@contextlib.contextmanager
def flights_api(folder: Path, *, port: int = 0, seed: int = 1, poison: int = 0, share: float = 1) -> Iterator[str]:
    """Run the failing API in a child process, and yield its URL.

    Args:
        folder: For its log.
        port: 0 picks a free one.
        seed: Of its faults.
        poison: The month with seconds in it.
        share: Of the flights that are served.

    Raises:
        CannotStartError: the port is in use, or the data is not installed.
    """
    options = {"--port": port, "--seed": seed, "--folder": folder, "--poison": poison, "--share": share}
    command = [sys.executable, str(_HERE / "api.py"), *(str(part) for option in options.items() for part in option)]
    with _running(command, {}, folder / "api.log", stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise CannotStartError("the flights API has no output")
        waiting = Waiting("starting the failing API: it reads 336,776 flights and corrupts some")
        while not select.select([process.stdout], [], [], 0.3)[0]:
            waiting.report()
        answer = json.loads(process.stdout.readline() or '{"error": "the flights API ended at once"}')
        if "error" in answer:
            raise CannotStartError(answer["error"])
        yield answer["url"]


@contextlib.contextmanager
def prefect_server(folder: Path, *, port: int) -> Iterator[str]:
    """Run a Prefect server that keeps its data in `folder`, and yield the URL of its API.

    Raises:
        CannotStartError: the port is in use, or the server did not answer in time.
    """
    port = port or _free_port()
    if _answers(port):
        raise CannotStartError(f"port {port} is in use: stop what listens there, or give another --prefect-port")
    url = f"http://127.0.0.1:{port}/api"
    settings = {"PREFECT_HOME": str(folder), "PREFECT_API_URL": url, "PREFECT_UI_URL": f"http://127.0.0.1:{port}"}
    settings |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, settings, folder / "server.log") as process:
        _wait_for(f"{url}/health", process, folder / "server.log")
        os.environ.update(settings)
        yield url


@contextlib.contextmanager
def _running(
    command: list[str], settings: dict[str, str], log: Path, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a new group, so that Ctrl-C reaches only this process, and end the group afterwards."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and scripts
            command,
            stdin=subprocess.PIPE,  # it closes when this process ends, for any reason
            stdout=output if stdout is None else stdout,
            stderr=output,
            env={**os.environ, **settings},
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  # no thread runs yet
        )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def _end_with_parent() -> None:
    """Have Linux end this child if its parent is killed; `prctl(PR_SET_PDEATHSIG, SIGTERM)`, see prctl(2)."""
    import ctypes  # noqa: PLC0415  # in the child alone

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    waiting = Waiting("starting a Prefect server, which takes 10 to 60 s")
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            raise CannotStartError(f"the Prefect server ended at once; its log is {log}")
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310
            return
        waiting.report()
        time.sleep(0.3)
    raise CannotStartError(f"the Prefect server did not answer within {_PATIENCE:g} s; its log is {log}")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
