"""A real HTTP server that fails on request: down, slow, silent, resetting, truncating, sending invalid bodies.

    with FaultyServer() as server:
        server.serve("/flights", '[{"carrier": "UA"}]')
        server.down(2)
        fetch(server.url + "/flights")  # meets two 503s, then the data

It listens on the loopback interface only and answers from threads of this process.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import itertools
import json
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias
from urllib.parse import quote

from resilient_tasks.alerts import gate
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.testing import _given
from resilient_tasks.testing._plan import FaultPlan, Schedule
from resilient_tasks.testing._wire import HOST, Body, HTTPListener, Request, Response, reserve
from resilient_tasks.testing.faults import (
    BrokenGzip,
    Corrupt,
    Fault,
    Hang,
    RedirectLoop,
    Refused,
    Status,
    Truncate,
    WrongType,
)
from resilient_tasks.testing.isolation import open_to

if TYPE_CHECKING:
    from types import TracebackType

    from resilient_tasks.testing._certificates import Validity

__all__ = ["Body", "FaultyServer", "Handler", "Https", "Request", "Response", "Schedule", "Served"]

Handler: TypeAlias = Callable[[Request], Response | Body]
_TEXT = "text/plain; charset=utf-8"
#: Marks the requests with which a client follows a redirect loop.
_LOOP = "redirected-by-faulty-server"


@dataclass(frozen=True)
class Served(Request):
    """A request and its result.

    Attributes:
        fault: The name of the fault that it met, or None.
        status: The status of the response, None if none was sent (a hang).
        left: Whether the client had closed the connection before anything was sent.
    """

    fault: str | None
    status: int | None
    left: bool


@dataclass(frozen=True)
class Https:
    """A server over TLS: its address, and the file with the authority that clients are to trust."""

    url: str
    ca: Path


class FaultyServer(FaultPlan):
    """An HTTP/1.1 server on 127.0.0.1 that answers GET and POST, and fails on request.

    Faults come from two places. A test queues them (`fail` and its shorthands) for the next requests, in order; a long
    rehearsal passes a schedule. A queued fault takes precedence over the schedule's.

    If a handler, the schedule or a transform raises, the response is 500 with the traceback as body.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        schedule: Schedule | None = None,
        *,
        port: int = 0,
        log: Path | str | None = None,
    ) -> None:
        """Prepare a server; `start` or a with statement opens its port.

        Args:
            handler: Answers each request whose path was not given to `serve`. Called from several threads at once.
            schedule: Returns the fault for a request, or None. It is called once for every request, one request at a
                time, so it may count.
            port: The port; 0 picks a free one. A server that is stopped and started again keeps its port.
            log: A file to which each request is appended as a line of JSON (number, time, id, method, path, query,
                fault, status, left) before anything is sent, so that a client never knows more than the log. The id
                is the header `X-Request-ID`. Other headers and bodies are left out: they may hold secrets.
        """
        super().__init__(schedule)
        _given.check_asked(handler, "handler")
        _given.check_port(port, "FaultyServer(port=...)")
        self._handler = handler
        self._port = port
        self._log = None if log is None else Path(log)
        self._routes: dict[str, Handler] = {}
        self._served: list[Served] = []
        self._served_lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._listener: HTTPListener | None = None
        self._refusing_port = 0
        self._open = contextlib.ExitStack()
        self._isolation = contextlib.ExitStack()

    def start(self) -> Self:
        """Open the port and start answering.

        Raises:
            OSError: The port is in use.
            RuntimeError: The server is running already.
        """
        if self._listener is not None:
            raise RuntimeError(f"The server is already running at {self.url}: stop it before starting it again.")
        try:
            self._listener = HTTPListener(self._port, self._answer, lambda: next(self._numbers))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            sentence = f"Port {self._port} on {HOST} is in use: stop what listens there, or pass port=0."
            raise OSError(errno.EADDRINUSE, sentence) from error
        self._open.callback(self._listener.stop)
        self._port = self._listener.port
        self._refusing_port = self._open.enter_context(reserve()).getsockname()[1]
        return self

    def stop(self) -> None:
        """Close the port and every connection at once, hanging ones included; do nothing if not running."""
        self._open.close()
        self._listener = None

    def __enter__(self) -> Self:
        """Start the server, and keep alerts away from people (see `away_from_people`), except those sent here."""
        self.start()
        self._isolation = contextlib.ExitStack()
        self._isolation.enter_context(open_to(gate.place(HOST, self.port)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self._isolation.close()
        self.stop()

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        """Close the port and every connection for the length of a with block, then listen there again.

        Meanwhile the operating system refuses connections; the server neither sees nor counts them.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._listener is None:
            raise RuntimeError("The server is not running: start it before taking it offline.")
        self.stop()
        try:
            with reserve(self._port):
                yield
        finally:
            self.start()

    @contextlib.contextmanager
    def https(self, certificate: Validity = "valid") -> Iterator[Https]:
        """Serve the same paths, with the same faults, over TLS for the length of a with block.

        Args:
            certificate: `"valid"`, `"expired"`, `"other_host"` (issued to another host), or `"untrusted"` (`ca` is
                another authority's).

        Raises:
            PolicyError: There is no such certificate.
            ModuleNotFoundError: The extra `testing` is not installed.
            RuntimeError: The server is not running.
        """
        if self._listener is None:
            raise RuntimeError("The server is not running: start it before it serves over TLS.")
        try:
            from resilient_tasks.testing._certificates import Certificate  # noqa: PLC0415  # needs an extra
        except ModuleNotFoundError as error:
            sentence = "https() needs trustme: pip install 'resilient-tasks[testing]'"
            raise ModuleNotFoundError(sentence, name=error.name) from error
        issued = Certificate(certificate)
        with contextlib.ExitStack() as until:
            until.callback(issued.delete)
            listener = HTTPListener(0, self._answer, lambda: next(self._numbers), issued.context)
            until.callback(listener.stop)
            yield Https(f"https://localhost:{listener.port}", issued.authority)

    @property
    def port(self) -> int:
        """The port.

        Raises:
            RuntimeError: The server picks its port at the start, and has not been started.
        """
        if not self._port:
            raise RuntimeError("The server has no port yet: start it, or use it in a with statement.")
        return self._port

    @property
    def url(self) -> str:
        """The address without a path, such as `http://127.0.0.1:43210`. Raises as `port` does."""
        return f"http://{HOST}:{self.port}"

    @property
    def requests(self) -> list[Served]:
        """Every request so far, in the order in which their responses were determined."""
        with self._served_lock:
            return list(self._served)

    def served_faults(self) -> Counter[str]:
        """Return the number of faults that clients have met, by name."""
        return Counter(served.fault for served in self.requests if served.fault is not None)

    @answering('server.serve("/flights", "[]")')
    def serve(
        self,
        path: str,
        body: Body | Handler,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        *,
        status: int = 200,
    ) -> None:
        """Answer requests for a path, whatever the method; this replaces what was served there before.

        Args:
            path: The exact path, beginning with a slash, without a query.
            body: Bytes, text, a dict or list to send as JSON, or a function of the request that returns one of these
                or a whole `Response`.
            content_type: The body's media type, unless the function returns a `Response`.
            headers: Further headers, unless the function returns a `Response`.
            status: The HTTP status, unless the function returns a `Response`.

        Raises:
            TypeError: The body is none of these.
            ValueError: The path does not begin with a slash, or the status would not end the request.
        """
        if path is None or path[:1] in ("*", "["):
            raise PolicyError(f"serve(path) is one exact path, such as '/flights', not {path!r}: see handler=.")
        _given.check_path(path, "serve")
        Status(status)  # checks it

        def respond(given: Response | Body) -> Response:
            return given if isinstance(given, Response) else Response(given, status, content_type, headers or {})

        if callable(body):
            self._routes[path] = lambda request: respond(body(request))
        else:
            fixed = respond(body)
            self._routes[path] = lambda _: fixed

    def _answer(self, request: Request, has_left: Callable[[], bool]) -> tuple[Fault | None, Response]:
        try:
            fault = RedirectLoop() if _LOOP in request.query else self._fault_for(request)
            response = self._respond(fault, request)
        except Exception:
            fault, response = None, Response(traceback.format_exc(), 500, _TEXT)
        self._record(
            Served(
                **vars(request),
                fault=None if fault is None else fault.name,
                status=None if isinstance(fault, Hang) else response.status,
                left=has_left(),
            )
        )
        return fault, response

    def _respond(self, fault: Fault | None, request: Request) -> Response:
        match fault:
            case Status():
                return Response(fault.body, fault.code, fault.content_type, _retry_after(fault.retry_after))
            case Refused():
                location = f"http://{HOST}:{self._refusing_port}{quote(request.path)}"
                return Response(b"", 307, _TEXT, {"Location": location})
            case RedirectLoop():
                return Response(b"", 302, _TEXT, {"Location": f"{quote(request.path)}?{_LOOP}=1"})
            case Hang():
                return Response()
        return _changed(self._handle(request), fault)

    def _handle(self, request: Request) -> Response:
        handler = self._routes.get(request.path, self._handler)
        if handler is None:
            paths = ", ".join(sorted(self._routes)) or "no path yet"
            return Response(f"Nothing is served at {request.path}; this server knows {paths}.\n", 404, _TEXT)
        given = handler(request)
        return given if isinstance(given, Response) else Response(given)

    def _record(self, served: Served) -> None:
        with self._served_lock:
            self._served.append(served)
            if self._log is not None:
                shown = ("number", "time", "id", "method", "path", "query", "fault", "status", "left")
                line = json.dumps({name: getattr(served, name) for name in shown})
                with self._log.open("a", encoding="utf-8") as log:
                    log.write(line + "\n")


def _changed(response: Response, fault: Fault | None) -> Response:
    """Return the response that a client gets with a fault that changes its content."""
    body = response.payload
    match fault:
        case Truncate(keep):
            return replace(response, body=body[: int(keep * len(body))])
        case Corrupt(transform):
            return replace(response, body=transform(body))
        case WrongType(content_type):
            return replace(response, content_type=content_type)
        case BrokenGzip():
            broken = gzip.compress(body)[:10] + b"\xff" * max(len(body), 1)  # the head is right, the data is not
            return replace(response, body=broken, headers={**response.headers, "Content-Encoding": "gzip"})
    return response


def _retry_after(value: float | str | None) -> dict[str, str]:
    if value is None:
        return {}
    whole = isinstance(value, float) and value.is_integer()
    return {"Retry-After": str(int(value) if whole else value)}
