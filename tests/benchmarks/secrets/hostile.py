"""Part (f): the time that texts take which were written to be slow, at three lengths."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Characters of the shortest text; the others have twice and four times as many.
LENGTH = 15_000
#: Where the longest takes more than so many times what the shortest takes, time is not in proportion (4 would be).
TOO_MUCH = 10
_BEST_OF = 3

#: What is repeated up to the length.
REPEATED = (
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


def timed(redact: Callable[[str], str]) -> dict[str, tuple[float, float, float]]:
    """Return the seconds that each text takes, at the three lengths: the best of three."""
    found = {}
    for part in REPEATED:
        texts = [(part * (LENGTH * times // len(part) + 1))[: LENGTH * times] for times in (1, 2, 4)]
        first, second, third = (min(_seconds(redact, text) for _ in range(_BEST_OF)) for text in texts)
        found[part] = (first, second, third)
    return found


def is_slow(seconds: tuple[float, float, float]) -> bool:
    """Tell whether the time is out of proportion to the length."""
    return seconds[2] > TOO_MUCH * max(seconds[0], 0.001)


def _seconds(redact: Callable[[str], str], text: str) -> float:
    before = time.perf_counter()
    redact(text)
    return time.perf_counter() - before
