"""Classify an error by its text if nothing more reliable is known; a refused certificate in the text always counts."""

from __future__ import annotations

import re
from http import HTTPStatus

from resilient_tasks import safely
from resilient_tasks.core.classification import databases
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.classification.wrapped import BUGS, is_from_a_library, is_raised_by_a_library
from resilient_tasks.redaction.patterns import compiled

#: Only this many characters of a text are searched.
_LONGEST = 4_000
_MAY_BE_TLS = compiled(r"certif|x509|ssl|tls|pkix|issuer|hostname", re.IGNORECASE)
_NOT_GOOD = (
    r"(?:verif\w+[ _]failed|unable to (?:verify|get|find)|expired|revoked|unknown|untrusted|required|invalid|bad"
    r"|problem|not (?:yet )?(?:valid|trusted)|self[- _]signed|mismatch|(?:doesn't|does not) match|rejected"
    r"|is valid for \S+, not)"
)
_UNTRUSTED = compiled(
    rf"certificat\w*.{{0,100}}?{_NOT_GOOD}|{_NOT_GOOD}.{{0,60}}?certificat|signed by unknown authority|x509: "
    r"|hostname.{0,80}(?:mismatch|(?:doesn't|does not) match)|unknown[_ ]?(?:ca|issuer)\b|pkix path"
    r"|wrong[_ ]version[_ ]number|(?:ssl|tls)\b.{0,80}\b(?:unsupported[_ ]protocol|no[_ ]protocols[_ ]available"
    r"|protocol version|handshake[_ ]failure)|sslv3_alert_(?!bad_record|close)|tlsv1_alert_(?!internal|user_cancel)",
    re.IGNORECASE | re.DOTALL,
)
#: Phrases of libraries whose class names carry no information; the first match counts.
_PHRASES_OF = {
    kind: compiled(pattern, re.IGNORECASE)
    for kind, pattern in {
        Kind.THROTTLED: (
            r"\brate limit(?:s|ed)? (?:is |was |has been )?(?:exceeded|reached|hit)"
            r"|\btoo many (?:requests|concurrent)\b|\boverloaded\b|\b(?:server|service|system) is (?:too )?busy"
        ),
        Kind.TIMEOUT: r"\btimed[ -]?out\b|\btimeout of \d|deadline (?:was )?exceeded|gateway time-?out"
        r"|\bno (?:response|reply) (?:was |has been )?received|\bERR_(?:\w+_)?TIMED_OUT\b|\bETIMEDOUT\b",
        Kind.TRANSIENT: (
            r"connection (?:\w+ ){0,3}(?:refused|reset|aborted|lost|dropped|broken|closed by)|server disconnected"
            r"|broken pipe|pool exhausted|temporarily unavailable|resource shortage|error reading ssh protocol banner"
            r"|stream removed|rst_stream|stream (?:was )?(?:terminated|reset)|\bgoaway\b|transport is closing"
            r"|could(?:n'?t| not) (?:connect|resolve host)|(?:failed to|can ?not|could not) lookup address"
            r"|temporary failure|network is (?:unreachable|down)|no route to host|name or service not known"
            r"|remote end closed|socket hang ?up|disconnect/reset|upstream connect error|too many connections"
            r"|failed to establish a (?:new )?connection|\bdeadlock\b|service unavailable|bad gateway"
            r"|\bno (?:cluster )?leader\b|\bin safe mode\b"
            r"|fail(?:ed|ure)?(?: to)? connect(?:ing)? to|(?:unable to|can ?not) connect to"
            r"|\bdisconnected(?::| unexpectedly)|(?:stream|socket) (?:is|was) closed"
            # the codes of browsers, and of Node.js
            r"|\bERR_(?:CONNECTION_(?:REFUSED|RESET|CLOSED|ABORTED|FAILED)|NAME_NOT_RESOLVED|ADDRESS_UNREACHABLE"
            r"|NETWORK_CHANGED|INTERNET_DISCONNECTED|EMPTY_RESPONSE)\b|\bNS_ERROR_(?:NET_RESET|CONNECTION_REFUSED)\b"
            r"|\b(?:ECONN(?:REFUSED|RESET|ABORTED)|EPIPE|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN)\b"
        ),
    }.items()
}
#: Phrases for the reason of a refused or closed connection: it would be refused again.
_REFUSAL = compiled(
    r"not authori[sz]ed|unauthori[sz]ed|bad user|identifier rejected|unacceptable|forbidden|denied|credential"
    r"|invalid (?:token|api|key|argument|url|host|address)|not supported|mismatch|by client\b|locally",
    re.IGNORECASE,
)
_PHRASES = {status.phrase.lower(): status.value for status in HTTPStatus if status >= 400}
_STATUSES = tuple(
    compiled(pattern, re.IGNORECASE)
    for pattern in (
        r"\bHTTP(?:[ /-](?:\d(?:\.\d)?|status|error|code|response))*[ :=]+\(?['\"]?([45]\d\d)\b",
        r"\b(?:status(?:[ _]?code)?|returned error|responded with|response code)[ :=]+(?:is )?['\"]?([45]\d\d)\b",
        r"\brequest\b.{0,200}?(?:\bcode[ :=]+|\[)([45]\d\d)\b",
        r"^[(\[]?([45]\d\d)(?::|[)\]]| ?[{<]|$)",
        rf"\b([45]\d\d)\b[ :-]+(?:{'|'.join(map(re.escape, _PHRASES))})\b",
    )
)


def may_be_about_tls(text: str) -> bool:
    """Return whether a text may be about TLS. Hardly any is, and a case-insensitive pattern takes ten times as long."""
    if not text.isascii():
        return _MAY_BE_TLS.search(text) is not None  # it also matches letters that look alike
    low = text.lower()
    return (
        "certif" in low
        or "x509" in low
        or "ssl" in low
        or "tls" in low
        or "pkix" in low
        or "issuer" in low
        or "hostname" in low
    )


def refuses_a_certificate(error: BaseException) -> bool:
    """Return whether, by the text of an error, one side refused the other's certificate or TLS version."""
    text = safely.text(error)[:_LONGEST]
    return may_be_about_tls(text) and _UNTRUSTED.search(text) is not None


def text_counts(error: BaseException) -> bool:
    """Return whether the text of an error is searched: that of a library's error, unless it is a bug."""
    return (is_from_a_library(error) and not safely.is_a(error, BUGS)) or is_raised_by_a_library(error)


@safely.or_none
def status(error: BaseException) -> int | None:
    """Return the HTTP status in the text of a library's error; None if there is none."""
    if not text_counts(error):
        return None
    text = safely.text(error)[:_LONGEST]
    found = next((found for pattern in _STATUSES if (found := pattern.search(text)) is not None), None)
    return int(found[1]) if found is not None else _PHRASES.get(text.strip(" .!").lower())


@safely.or_none
def by_text(error: BaseException) -> Kind | None:
    """Return the kind of a library's error by phrases about connections and limits in its text; None without one."""
    if not text_counts(error):
        return None
    text = safely.text(error)[:_LONGEST]
    kind = next((kind for kind, phrases in _PHRASES_OF.items() if phrases.search(text)), None)
    is_refusal = kind is not None and (_REFUSAL.search(text) or databases.refuses(text))
    return Kind.PERMANENT if is_refusal else kind
