"""A web service with a slow tail: a few of its responses, unpredictably, take half a second.

`python slow_tail.py` listens on a free port of this machine and prints it. `GET /counts` returns the number of
requests and of slow ones for each other path. It ends when its standard input does.

One of every 50 responses is slow, at a random position: the share is exact. Paths in the same folder draw the same
times in the same order.
"""

import asyncio
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator

EVERY, SLOW = 50, 0.5  # one of 50 requests takes 0.5 seconds
LEAST, SPREAD = 0.010, 0.004  # minimum of the others, and the mean of their exponential distribution above it


class Service:
    """Times to answer in, and what was asked so far."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._times: dict[str, Iterator[float]] = {}

    def seconds(self, path: str) -> float:
        """Count a request, and return how long its answer takes."""
        if path not in self._times:
            self._times[path] = times(random.Random(path.rpartition("/")[0]))
        seconds = next(self._times[path])
        self.counts[path]["requests"] += 1
        self.counts[path]["slow"] += seconds == SLOW
        return seconds


def times(draw: random.Random) -> Iterator[float]:
    """Give the seconds that each answer takes."""
    while True:
        slow = draw.randrange(EVERY)
        for number in range(EVERY):
            yield SLOW if number == slow else LEAST + draw.expovariate(1 / SPREAD)


class Connection(asyncio.Protocol):
    """One client's connection, kept alive. It understands GET without a body, one request after another."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._read = (self._read + data).split(b"\r\n\r\n")
        for request in requests:
            path = request.split(b" ", 2)[1].decode()
            if path == "/counts":
                self._answer(json.dumps(self._service.counts))
            else:
                asyncio.get_running_loop().call_later(self._service.seconds(path), self._answer, "{}")

    def _answer(self, body: str) -> None:
        if not self._transport.is_closing():  # the client may have disconnected
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(f"{head}{body}".encode())


async def serve() -> None:
    service, loop = Service(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
