"""What the parts of the measurement share: generated secrets, cases, and how a leak is detected."""

from __future__ import annotations

import base64
import math
import random
import string
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SEED = 20261127
ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
URL64 = ALNUM + "-_"
SYMBOLS = "!#$%&()*+,-./:;<=>?@[]^_{|}~"
WORDS = (
    *("tiger", "summer", "horse", "battery", "staple", "winter", "dragon", "monkey", "orange", "shadow", "flower"),
    *("silver", "garden", "castle", "thunder", "pepper", "violet", "marble", "falcon", "copper"),
)
#: Every third key is held out, by a fixed rule.
_THIRDS = 3
#: This share of a secret, in one piece, still reveals it.
_SHARE = 0.6
_SHORTEST_RUN = 5


@dataclass(frozen=True)
class Case:
    """A text, and the secret in it.

    Attributes:
        key: names the form. All cases of one form are held out together, or none is.
        kind: of the secret.
        secret: as it was generated.
        forms: how the secret is written in `text`.
        text: what is to be redacted.
    """

    key: str
    kind: str
    secret: str
    forms: tuple[str, ...]
    text: str

    @property
    def held_out(self) -> bool:
        """Return whether details of this case are hidden while the patterns are tuned."""
        return is_held_out(self.key)

    def leaks(self, redacted: str) -> bool:
        """Return whether the secret, or most of it in one piece, is in the redacted text."""
        rest = self.text
        for form in self.forms:
            rest = rest.replace(form, "\0")
        return any(_is_left(form, redacted, rest) for form in {self.secret, *self.forms})


def is_held_out(key: str) -> bool:
    """Return whether a form is held out: by a checksum of its name, so that it is the same third at each run."""
    return zlib.crc32(key.encode()) % _THIRDS == 0


def _is_left(secret: str, redacted: str, rest: str) -> bool:
    run = min(len(secret), max(_SHORTEST_RUN, math.ceil(_SHARE * len(secret))))
    pieces = {secret[at : at + run] for at in range(len(secret) - run + 1)}
    return any(piece in redacted and piece not in rest for piece in pieces)


class Maker:
    """Generates secrets: for one seed the same ones in each run, for each name others."""

    seed = SEED

    def __init__(self, name: str) -> None:
        self.random = random.Random(f"{self.seed}:{name}")

    def some(self, letters: str, length: int) -> str:
        """Return a number of random `letters`."""
        return "".join(self.random.choices(letters, k=length))

    def word(self) -> str:
        """Return a word that people choose as a password."""
        return self.random.choice(WORDS)

    def mixed(self, length: int) -> str:
        """Return letters and digits, at least one of each."""
        return f"{self.some(ALNUM, length - 3)}{self.some(string.digits, 2)}{self.some(string.ascii_letters, 1)}"

    def with_signs(self, signs: str, length: int = 14) -> str:
        """Return letters and digits, with at least two of `signs` in the middle."""
        body = list(self.mixed(length))
        for sign in self.random.sample(signs, min(len(signs), 3)):
            body.insert(self.random.randint(1, len(body) - 1), sign)
        return "".join(body)

    def jwt(self) -> str:
        """Return a text in the form of a JSON web token."""
        claims = f'{{"sub":"{self.word()}","iat":{self.some(string.digits[1:], 10)}}}'
        head, body = (base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in (_JWT, claims))
        return f"{head}.{body}.{self.some(URL64, 43)}"


_JWT = '{"alg":"HS256","typ":"JWT"}'


def _unicode(make: Maker) -> str:
    return f"{make.word()}ß{make.some('äöüéñøçžλЖ', 3)}{make.some(string.digits, 3)}{make.some('日本語パスワ', 2)}"


#: What machines generate: values of `token` or `api_key` are made only of these.
RANDOM: dict[str, Callable[[Maker], str]] = {
    "letters and digits": lambda make: make.mixed(make.random.randint(16, 32)),
    "hexadecimal": lambda make: make.some(HEX, make.random.choice((32, 40, 64))),
    "base64": lambda make: base64.b64encode(make.random.randbytes(make.random.choice((20, 32, 47)))).decode(),
    "base64url": lambda make: base64.urlsafe_b64encode(make.random.randbytes(32)).decode().rstrip("="),
    "long": lambda make: make.mixed(200),
}
#: What people choose, in addition.
CHOSEN: dict[str, Callable[[Maker], str]] = {
    "word": lambda make: make.word() + make.random.choice(("", "2026", "!", "99")),
    "short": lambda make: make.mixed(6),
    "words": lambda make: " ".join(make.random.sample(WORDS, 4)),
    "hyphens": lambda make: "-".join(make.random.sample(WORDS, 3)),
    "symbols": lambda make: make.with_signs(SYMBOLS),
    "at and colon": lambda make: make.with_signs("@:/"),
    "semicolon": lambda make: make.with_signs(";,&"),
    "hash and question": lambda make: make.with_signs("#?!"),
    "quotes": lambda make: make.with_signs("\"'"),
    "one quote": lambda make: make.with_signs("'"),
    "spaces": lambda make: f"{make.mixed(6)} {make.mixed(5)} {make.mixed(5)}",
    "percent": lambda make: make.with_signs("%") + "%41" + make.some(ALNUM, 3),
    "backslash": lambda make: make.with_signs("\\"),
    "unicode": _unicode,
    "equals": lambda make: make.with_signs("="),
    "sign first": lambda make: make.random.choice("!@#+^~") + make.mixed(12),
}
KINDS = {**RANDOM, **CHOSEN}


def secrets_of(make: Maker, kinds: dict[str, Callable[[Maker], str]]) -> Iterator[tuple[str, str]]:
    """Yield secrets endlessly, of each kind in turn, with the name of the kind."""
    names = list(kinds)
    while True:
        make.random.shuffle(names)
        for name in names:
            yield name, kinds[name](make)
