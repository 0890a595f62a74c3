"""What a server answered, read from the error that bears it. Nothing here raises, whatever that error is like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resilient_tasks.core import safely


def header(error: BaseException, name: str) -> str | None:
    """Return a header of the response that an error bears, or bears itself; None where there is none."""
    response: Any = safely.attribute(error, "response")
    if safely.is_a(response, Mapping):
        places: tuple[Any, ...] = (safely.item(response, "ResponseMetadata", "HTTPHeaders"),)
    else:
        places = (safely.attribute(response, "headers"), safely.attribute(error, "headers"))
    found = (safely.item(headers, spelt) for headers in places for spelt in (name, name.lower()))
    value = next((value for value in found if value is not None), None)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return None if value is None else safely.text(value).strip()


def mail_is_refused_for_now(error: BaseException) -> bool:
    """Tell whether a mail server asks to come back later (smtplib, aiosmtplib), for one of several recipients perhaps.

    4xx says "come back later" and 5xx "do not" (RFC 5321 §4.2.1): the other way round than in HTTP.
    """
    refused = safely.attribute(error, "recipients")
    if isinstance(refused, dict):
        codes = [answer[0] for answer in refused.values() if isinstance(answer, tuple) and answer]
    else:
        each = refused if isinstance(refused, list) and refused else [error]
        codes = [safely.attribute(one, "smtp_code", safely.attribute(one, "code")) for one in each]
    return any(type(code) is int and 400 <= code < 500 for code in codes)
