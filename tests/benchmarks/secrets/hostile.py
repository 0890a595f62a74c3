"""Part (f): the time of texts that were written to be slow, at three lengths."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable

#: Characters of the shortest text; the others have twice and four times as many.
LENGTH = 15_000
#: If the longest takes more than this multiple of the shortest's time, time is not proportional (which would be 4).
TOO_MUCH = 10
_BEST_OF = 3
#: Times below this (seconds) are too short to compare.
_TELLING = 0.01
#: The time limit for one text, in seconds.
_PATIENCE = 5

#: What is repeated up to the length.
REPEATED = (
    *("insert into t(password) values ('a',", "curl -u a:", ";Password=a&", "**password**: ", "a_B1c_", "1 LOGIN a "),
    *(
        "option 'key' in section Raw value: '",
        "value: a name: password ",
        "login('a', ",
        "password is ",
        "A1b2" * 15 + "\n",
    ),
    *(
        "a",
        "\\",
        '"',
        "'",
        "{",
        "(",
        "<",
        "%25",
        "&#x27;",
        "A1b2",
        "eyJ",
        "eyJhbGciOi.",
        "://",
        "://a:",
        "://a:b",
        "a@",
    ),
    *("password", "password=", "password: ", "password='", '"password": "', '\\"password\\": \\"', "'password', "),
    *("key", "api_key ", "secret_", "token=a&", "Bearer ", "Authorization: ", "Basic YTpi", "Cookie: a=", "sig="),
    *(
        '{"name": "password", ',
        '"value": "a", "name": ',
        '<a name="password" ',
        "<password>",
        "password:\n  ",
        "password: |\n",
    ),
    *(
        "-u a:",
        "'-u', 'a:",
        "-p",
        "--password ",
        "IDENTIFIED BY ",
        "machine a login b ",
        "thin:a/b",
        "[parameters: (",
        "input_value='",
    ),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ",
        "-",
        "sk_",
        "ghp_",
        "xoxb-1-",
        "AKIA",
        "pat.",
        "a.b.",
        "M" * 24 + ".",
        "_",
    ),
    *(
        'name="password"\r\n',
        "IDENTIFIED WITH ",
        "password: >\n    a",
        "JDBC:",
        "=;",
        "; ",
        "AccountKey=",
        "\n",
        " ",
        "\u0130",
    ),
)


class _TooSlow(BaseException):
    """Not an `Exception`, so that redaction does not catch it."""


def timed(redact: Callable[[str], str]) -> dict[str, tuple[float, float, float]]:
    """Return the seconds of processor time that each text takes, at the three lengths: infinite if it was abandoned."""
    before = signal.signal(signal.SIGALRM, _give_up)
    try:
        return {part: _at_three_lengths(redact, part) for part in REPEATED}
    finally:
        signal.signal(signal.SIGALRM, before)


def _at_three_lengths(redact: Callable[[str], str], part: str) -> tuple[float, float, float]:
    found: list[float] = []
    for length in (LENGTH, 2 * LENGTH, 4 * LENGTH):
        text = (part * (length // len(part) + 1))[:length]
        found.append(math.inf if math.inf in found else _best(redact, text))
    return found[0], found[1], found[2]


def _best(redact: Callable[[str], str], text: str) -> float:
    first = _seconds(redact, text)
    if first > 1:
        return first
    return min(first, *(_seconds(redact, text) for _ in range(_BEST_OF - 1)))


def _seconds(redact: Callable[[str], str], text: str) -> float:
    before = time.thread_time()
    try:
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
        redact(text)
    except _TooSlow:
        return math.inf
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return time.thread_time() - before


def _give_up(*_: object) -> None:
    raise _TooSlow


def is_slow(seconds: tuple[float, float, float]) -> bool:
    """Return whether the time is out of proportion to the length."""
    return math.isinf(seconds[2]) or seconds[2] > TOO_MUCH * max(seconds[0], _TELLING)
