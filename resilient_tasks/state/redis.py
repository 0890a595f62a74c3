"""States in Redis: shared by all machines."""

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

#: Redis has no compare and swap of its own. The reply holds its time too, so that all machines go by one clock; and
#: what a machine puts that is wrong about that time is refused, as if another one had been faster.
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

#: Seconds for reaching the server: nobody waits for it.
_CONNECT_TIMEOUT = 5.0

#: Seconds by which a machine may be wrong about the server's time. More, and its clock was set since it asked last.
_WRONG = 1.0


class RedisStore:
    """Strings in Redis under `resilient-tasks:`, swapped by a Lua script. Needs Redis 5 or newer, and no module.

    Args:
        url: as redis-py takes it: `redis://user:password@host:port/0`, `rediss://` for TLS, `unix://` for a socket.
        bound: seconds within which a question is answered or fails.

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
        self._ahead: float | None = None
        self._lent: SharedConnection[Redis] | None = None
        self._swap: Any = None

    def connect(self) -> None:
        """Connect, and see how the server's clock stands to this machine's.

        A connection that a thread uses meanwhile is closed by that thread.
        """
        from redis.backoff import NoBackoff  # noqa: PLC0415  # as above
        from redis.retry import Retry  # noqa: PLC0415  # as above

        client = self._redis.Redis.from_url(
            self._url,
            single_connection_client=True,
            socket_connect_timeout=_CONNECT_TIMEOUT,
            socket_timeout=self._bound,
            # By default redis-py repeats what breaks off, and a change that was made already is then made twice.
            retry=Retry(NoBackoff(), 0),
        )
        try:
            asked = time.time()
            self._keep_time(*client.time(), asked)
            client.script_load(_SWAP)
        except BaseException:
            client.close()
            raise
        # From here on a call may be waiting for a connection that the server had closed.
        assert client.connection is not None  # noqa: S101  # `single_connection_client=True`
        client.connection.socket_connect_timeout = self._bound
        self._swap = client.register_script(_SWAP)
        before, self._lent = self._lent, SharedConnection(client)
        if before is not None:
            before.give_up()

    def now(self) -> float:
        """Return the server's time, in unix seconds."""
        return clock.wall() + (self._ahead or 0.0)

    def get(self, key: str) -> bytes | None:
        """See `StateStore`."""
        return self._ask(lambda client: cast("bytes | None", client.get(_PREFIX + key)))

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """See `StateStore`."""
        kept = "" if ttl is None else max(1, int(ttl * 1000))

        def swapped(client: Redis) -> tuple[bool, bytes | None]:
            asked = time.time()
            believed = repr(asked + (self._ahead or 0.0))
            given = (int(old is not None), old or b"", new, kept, believed, _WRONG)
            done, seconds, microseconds, *found = self._swap(keys=[_PREFIX + key], args=given, client=client)
            self._keep_time(seconds, microseconds, asked)
            return (True, new) if done else (False, found[0] if found else None)

        return self._ask(swapped)

    def keys(self, prefix: str) -> list[str]:
        """See `StateStore`."""
        pattern = _PREFIX + _literally(prefix) + "*"
        found = self._ask(lambda client: list(client.scan_iter(match=pattern, count=1000)))
        return sorted(key.decode().removeprefix(_PREFIX) for key in found)

    def close(self) -> None:
        """Close the connection, or leave that to the thread that uses it."""
        lent, self._lent = self._lent, None
        if lent is not None:
            lent.give_up()

    def _ask(self, question: Callable[[Redis], T]) -> T:
        lent = self._lent
        if lent is None:
            msg = "not connected"
            raise ConnectionError(msg)
        return lent.use(question, self._bound)

    def _keep_time(self, seconds: Any, microseconds: Any, asked: float) -> None:
        """Tell by how much the server's clock is ahead: it read it between the question and the answer.

        What is believed stays where that may be so, for an answer that took long says little.
        """
        server = int(seconds) + int(microseconds) / 1e6
        most, least = server - asked, server - time.time()
        if self._ahead is None or not least <= self._ahead <= most:
            self._ahead = (least + most) / 2


def _literally(prefix: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[\\" else letter for letter in prefix)
