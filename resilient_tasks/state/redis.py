"""States in Redis: shared across machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.execution import clock
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.state.connection import SharedConnection

if TYPE_CHECKING:
    from redis import Redis

T = TypeVar("T")

_PREFIX = "resilient-tasks:"

#: Compare-and-swap, which Redis lacks. The reply includes the server's time, so that all machines use one clock. A swap
#: by a machine that is wrong about that time fails, as if another machine had been faster.
_SWAP = """
local found = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local stands = (ARGV[1] == '1' and found == ARGV[2]) or (ARGV[1] == '0' and not found)
local wrong = math.abs(tonumber(time[1]) + tonumber(time[2]) / 1e6 - tonumber(ARGV[5]))
if not stands or wrong > tonumber(ARGV[6]) then return {0, time[1], time[2], found} end
if ARGV[4] == '' then redis.call('SET', KEYS[1], ARGV[3])
else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
return {1, time[1], time[2]}
"""

#: Seconds to connect to the server. No call waits for it.
_CONNECT_TIMEOUT = 5.0

#: Seconds by which a machine may be wrong about the server's time. Beyond that, its clock was set meanwhile.
_MOST_DRIFT = 1.0


class RedisStore:
    """Strings in Redis under `resilient-tasks:`, swapped by a Lua script. Needs Redis 5 or newer, and no module.

    Args:
        url: as for redis-py: `redis://user:password@host:port/0`, `rediss://` for TLS, `unix://` for a socket.
        bound: seconds within which a request is answered or fails.

    Raises:
        PolicyError: redis-py is not installed.
    """

    def __init__(self, url: str, *, bound: float = 0.05) -> None:
        try:
            import redis  # noqa: PLC0415  # an extra
        except ImportError:
            msg = f'{url.partition("://")[0]}:// needs redis-py: pip install "resilient-tasks[redis]"'
            raise PolicyError(msg) from None
        self._redis = redis
        self._url = url
        self._bound = bound
        self._offset: float | None = None
        self._connection: SharedConnection[Redis] | None = None
        self._swap: Any = None

    def connect(self) -> None:
        """Connect, and compare the server's clock with this machine's.

        An earlier connection that a thread still uses is closed by that thread.
        """
        from redis.backoff import NoBackoff  # noqa: PLC0415  # as above
        from redis.retry import Retry  # noqa: PLC0415  # as above

        client = self._redis.Redis.from_url(
            self._url,
            single_connection_client=True,
            socket_connect_timeout=_CONNECT_TIMEOUT,
            socket_timeout=self._bound,
            # By default redis-py repeats a command whose connection breaks, which could apply a change twice.
            retry=Retry(NoBackoff(), 0),
        )
        try:
            sent = time.time()
            self._update_offset(*client.time(), sent)
            client.script_load(_SWAP)
        except BaseException:
            client.close()
            raise
        # From here on a call may wait while redis-py reconnects after the server closed an idle connection.
        assert client.connection is not None  # noqa: S101  # `single_connection_client=True`
        client.connection.socket_connect_timeout = self._bound
        self._swap = client.register_script(_SWAP)
        before, self._connection = self._connection, SharedConnection(client)
        if before is not None:
            before.retire()

    def now(self) -> float:
        """Return the server's time, in unix seconds."""
        return clock.wall() + (self._offset or 0.0)

    def get(self, key: str) -> bytes | None:
        """See `StateStore`."""
        return self._ask(lambda client: cast("bytes | None", client.get(_PREFIX + key)))

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """See `StateStore`."""
        kept = "" if ttl is None else max(1, int(ttl * 1000))

        def swapped(client: Redis) -> tuple[bool, bytes | None]:
            sent = time.time()
            believed = repr(sent + (self._offset or 0.0))
            given = (int(old is not None), old or b"", new, kept, believed, _MOST_DRIFT)
            done, seconds, microseconds, *found = self._swap(keys=[_PREFIX + key], args=given, client=client)
            self._update_offset(seconds, microseconds, sent)
            return (True, new) if done else (False, found[0] if found else None)

        return self._ask(swapped)

    def keys(self, prefix: str) -> list[str]:
        """See `StateStore`."""
        pattern = _PREFIX + _escaped(prefix) + "*"
        found = self._ask(lambda client: list(client.scan_iter(match=pattern, count=1000)))
        return sorted(key.decode().removeprefix(_PREFIX) for key in found)

    def close(self) -> None:
        """Close the connection; if a thread uses it, when that is done."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.retire()

    def _ask(self, question: Callable[[Redis], T]) -> T:
        connection = self._connection
        if connection is None:
            msg = "not connected"
            raise ConnectionError(msg)
        return connection.use(question, self._bound)

    def _update_offset(self, seconds: Any, microseconds: Any, sent: float) -> None:
        """Update the offset of the server's clock, which was read between the request and the reply.

        The current offset is kept if the reply agrees with it: a slow reply says little.
        """
        server = int(seconds) + int(microseconds) / 1e6
        most, least = server - sent, server - time.time()
        if self._offset is None or not least <= self._offset <= most:
            self._offset = (least + most) / 2


def _escaped(prefix: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[\\" else letter for letter in prefix)
