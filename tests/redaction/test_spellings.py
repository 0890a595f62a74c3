"""A registered secret is found in every spelling that software writes."""

import base64
import html
import json
import random
import shlex
import string
import time
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape, quoteattr

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks.redaction.spellings import redact
from resilient_tasks.redaction.text import redact_whole

SECRETS = (
    *(
        'Zwölf "Boxer" & 1/2\\',
        "p@ss w+rd%4x/ü😀",
        "simplepass99",
        "it's <b>&amp;</b>",
        "C:\\temp\\new",
        "日本語パスワード",
    ),
    *("x=y&z==", "$HOME`ls`'\"", "+/+/-_-_", "a%2Fb\\nc"),
)


def lower_hex(text):
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def spellings(secret):
    data, text = secret.encode(), json.dumps(secret)
    yield secret
    yield from (quote(secret, safe=""), lower_hex(quote(secret, safe="")), quote(secret), quote_plus(secret))
    yield from (quote(quote(secret, safe=""), safe=""), quote_plus(quote_plus(secret)))
    yield "".join(f"%{byte:02x}" for byte in data)
    for ascii_only in (True, False):
        once = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield from (once, once.replace("/", "\\/"), json.dumps(json.dumps(once))[3:-3])
    yield text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").replace("'", "\\u0027")
    yield from (html.escape(secret), html.escape(secret, quote=False), html.escape(html.escape(secret)))
    yield "".join(f"&#{ord(letter)};" for letter in secret)
    yield "".join(f"&#x{ord(letter):x};" for letter in secret)
    yield from (escape(secret), quoteattr(secret), repr(secret), ascii(secret), repr(data), repr(repr(secret)))
    yield from (shlex.quote(secret), "'" + secret.replace("'", "''") + "'", '"' + secret.replace('"', '""') + '"')
    for style in ('"', "'", None):
        for letters in (True, False):
            yield yaml.safe_dump({"k": secret}, default_style=style, width=10_000, allow_unicode=letters)
    yield from (data.hex(), data.hex().upper(), html.escape(text), quote(text))


@pytest.mark.parametrize("secret", SECRETS)
def test_an_escaped_secret_is_found(secret):
    for written in spellings(secret):
        result = redact(f"it is {written} and more", (secret,))
        assert "***" in result, written
        assert result.startswith("it is ")
        assert result.endswith("and more")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_found_at_every_offset_in_base64(secret, encode):
    for before in ("", "u", "us", "bob:", "user:"):
        for behind in ("", ":x", "yz"):
            code = encode(f"{before}{secret}{behind}".encode()).decode()
            for written in (code, code.rstrip("=")):
                result = redact(f"Basic {written}, and more", (secret,))
                assert result.startswith("Basic ***")
                assert result.endswith(", and more")


def test_a_partly_escaped_secret_is_found():
    assert redact("p%61ss%77ord!", ("password!",)) == "***"
    assert redact("pas\\u0073word!", ("password!",)) == "***"


def test_escapes_around_a_secret_stay_unchanged():
    assert redact("a%20b %41 \\n &amp; pass%20word c%20d", ("pass word",)) == "a%20b %41 \\n &amp; *** c%20d"
    text = "100% of \\d+ &c; 'it''s' ünï"
    assert redact(text, ("password",)) is text


@given(st.text(alphabet=string.printable, min_size=6, max_size=30), st.sampled_from(["", "%41", "\\", "&amp;", "ü"]))
def test_any_secret_is_found_in_json_urls_html_and_base64(secret, around):
    for written in (json.dumps(secret), quote(secret, safe=""), html.escape(secret), f"{secret!r}"):
        assert "***" in redact(f"{around} <{written}> {around}", (secret,))
    assert "***" in redact(base64.b64encode(b"user:" + secret.encode()).decode(), (secret,))


def test_overlapping_secrets_are_redacted_whole(own_settings):
    own_settings(secrets=["open", "open sesame", "sesame street"])
    assert redact_whole("say open%20sesame%20street!") == "say ***!"


@pytest.mark.parametrize("unit", ["%25", "\\", "\\u005c", "&amp;", "''", "ü", "YWIx", "hunter2-", "%5C%5C"])
def test_the_time_is_linear_in_the_length(unit):
    secrets = ("hunter2-hunter2-X", "a" * 60, random.Random(1).randbytes(20).hex())

    def seconds(size):
        text = (unit * size)[:size]
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            redact(text, secrets)
            best = min(best, time.process_time() - began)
        return best

    few, many = seconds(10_000), seconds(80_000)
    assert many < 32 * few + 0.02, f"{few:.4f} s, then {many:.4f} s"


@pytest.mark.parametrize(
    "spell",
    [
        lambda data: data.hex(" "),
        lambda data: data.hex(":").upper(),
        lambda data: base64.b64encode(base64.b64encode(data)).decode(),
        lambda data: base64.b64encode(b'{"auth":"' + base64.b64encode(b"ann:" + data) + b'"}').decode(),
        lambda data: base64.encodebytes(b"some words that go before it, and so on: " + data).decode(),
    ],
    ids=["spaced digits", "digits and colons", "base64 twice", "base64 of a login in base64", "base64 in lines"],
)
def test_doubly_encoded_and_broken_base64_is_found(spell):
    secret = "Nightingale-in-the-Garden-7"
    result = redact(f"got {spell(secret.encode())} back", (secret,))
    assert "***" in result
    assert len(result) < 80
