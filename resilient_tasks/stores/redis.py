"""States in Redis: shared by all machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from resilient_tasks.core import clock
from resilient_tasks.core import real_time as time
from resilient_tasks.core.errors import PolicyError

if TYPE_CHECKING:
    from redis import Redis

_PREFIX = "resilient-tasks:"

#: Redis has no compare and swap of its own. The reply holds its time too, so that all machines go by one clock.
_SWAP = """
local found = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local stands = (ARGV[1] == '1' and found == ARGV[2]) or (ARGV[1] == '0' and not found)
if not stands then return {0, time[1], time[2], found} end
if ARGV[4] == '' then redis.call('SET', KEYS[1], ARGV[3])
else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
return {1, time[1], time[2]}
"""

#: Seconds for reaching the server: nobody waits for it.
_CONNECT_TIMEOUT = 5.0


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
        self._ahead = 0.0
        self._client: Redis | None = None
        self._swap: Any = None

    def connect(self) -> None:
        """Connect, and see how the server's clock stands to this machine's."""
        from redis.backoff import NoBackoff  # noqa: PLC0415  # as above
        from redis.retry import Retry  # noqa: PLC0415  # as above

        self.close()
        client = self._redis.Redis.from_url(
            self._url,
            single_connection_client=True,
            socket_connect_timeout=_CONNECT_TIMEOUT,
            socket_timeout=self._bound,
            retry=Retry(NoBackoff(), 0),
        )
        asked = time.time()
        seconds, microseconds = client.time()
        self._keep_time(seconds, microseconds, asked)
        swap = client.register_script(_SWAP)
        client.script_load(_SWAP)
        # From here on a call may be waiting for a connection that the server had closed.
        assert client.connection is not None  # noqa: S101  # `single_connection_client=True`
        client.connection.socket_connect_timeout = self._bound
        self._client, self._swap = client, swap

    def now(self) -> float:
        """Return the server's time, in unix seconds."""
        return clock.wall() + self._ahead

    def get(self, key: str) -> bytes | None:
        """See `StateStore`."""
        return cast("bytes | None", self._open.get(_PREFIX + key))

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """See `StateStore`."""
        client = self._open
        given = (int(old is not None), old or b"", new, "" if ttl is None else max(1, int(ttl * 1000)))
        asked = time.time()
        done, seconds, microseconds, *found = self._swap(keys=[_PREFIX + key], args=given, client=client)
        self._keep_time(seconds, microseconds, asked)
        return (True, new) if done else (False, found[0] if found else None)

    def keys(self, prefix: str) -> list[str]:
        """See `StateStore`."""
        found = self._open.scan_iter(match=_PREFIX + _literally(prefix) + "*", count=1000)
        return sorted(key.decode().removeprefix(_PREFIX) for key in found)

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    @property
    def _open(self) -> Redis:
        if self._client is None:
            msg = "not connected"
            raise ConnectionError(msg)
        return self._client

    def _keep_time(self, seconds: Any, microseconds: Any, asked: float) -> None:
        """Tell by how much the server's clock is ahead: it read it between the question and the answer."""
        self._ahead = int(seconds) + int(microseconds) / 1e6 - (asked + time.time()) / 2


def _literally(prefix: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[\\" else letter for letter in prefix)
