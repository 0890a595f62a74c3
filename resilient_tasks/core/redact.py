"""Blots secrets out of text, before it goes where other people read it.

What goes: values that the user registered (`configure(secrets=[...])`), whatever has the shape of a token, a key or a
URL with credentials (`secret_shapes`), and the values of names such as `password` or `api_key`, however the pair
is written: JSON, Python, YAML, the environment, a query, a header, a flag. The name stays: `password=***`.
What only looks like a secret stays: hashes, UUIDs, dates, `max_tokens=512`, `password=None`, "token expired".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from resilient_tasks.core import registered, secret_shapes, settings
from resilient_tasks.core.registered import MARK
from resilient_tasks.core.secret_shapes import looks_random, lowered

#: What is blotted out may, in rare texts, bring two halves of something together.
_ROUNDS = 5


#: Of a long text, so much of its head and of its tail is kept (characters); what lies in the margins beside them is
#: looked at too, so that a secret on which a cut falls is known for one.
_HEAD_KEPT, _TAIL_KEPT, _MARGIN = 3000, 1000, 2500
_BLANK = re.compile(r"\s")
_KEY_ENDS = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----")


def redact(text: str, *, code: bool = False) -> str:
    """Return `text` with every secret in it replaced by `***`; the same object where there is none.

    Of a text of more than 9,000 characters the head and the tail are kept, with a remark how much was left out:
    so the time is bounded, whatever the text is.

    Args:
        text: any text.
        code: it is a line of a program, in which only what is in quotes can be a value: `password=password` is none.
    """
    margin = max(_MARGIN, registered.longest(settings.current.secrets))
    if len(text) <= _HEAD_KEPT + _TAIL_KEPT + 2 * margin:
        return redact_whole(text, code=code)
    # What is cut is cut after it is blotted out, together with all that may be a part of a secret cut in two.
    head = redact_whole(text[: _HEAD_KEPT + margin], code=code)[:-margin]
    tail = redact_whole(text[-_TAIL_KEPT - margin :], code=code)[margin:]
    if (ends := _KEY_ENDS.search(tail)) is not None and "-----BEGIN " not in tail[: ends.start()]:
        tail = tail[ends.end() :]
    blank = _BLANK.search(tail)  # what stands before it may be the end of a very long word
    tail = tail[blank.end() :] if blank is not None else ""
    return f"{head} … [{left_out(len(text) - len(head) - len(tail))}] … {tail}"


def left_out(length: int) -> str:
    """Say how much of a text is left out."""
    return f"{length:,} characters left out"


def is_short(text: str) -> bool:
    """Tell whether `redact` keeps all of `text`, so that what it changes in it is a secret."""
    return len(text) <= _HEAD_KEPT + _TAIL_KEPT + 2 * _MARGIN


def redact_whole(text: str, *, code: bool = False) -> str:
    """Do as `redact` does, and keep all of `text`. The time is in proportion to its length.

    Args:
        text: any text.
        code: it is a line of a program, in which only what is in quotes can be a value: `password=password` is none.
    """
    for _ in range(_ROUNDS):
        once = _once(text, code=code)
        if once == text:
            return text
        text = once
    return text


def is_secret_pair(name: str, value: str) -> bool:
    """Tell whether `value` is a secret for the name that it bears."""
    if _HITS.search(name.lower()) is None:
        return False
    # The beginning of a long value tells what it is.
    pair = f"{json.dumps(name[:_MARGIN])}: {json.dumps(value[:_MARGIN])}"
    return redact_whole(pair) != pair


def is_nothing(value: str) -> bool:
    """Tell whether a value says that there is none, or that it is blotted out already."""
    return not value or _NOTHING.fullmatch(value) is not None


def _once(text: str, *, code: bool) -> str:
    secrets = settings.current.secrets
    if secrets:
        text = registered.blot(text, secrets)
    text = secret_shapes.blot(text)
    low = lowered(text)
    return text if _HITS.search(low) is None else _without_pairs(text, low, code=code)


# What stands in the names of secrets, in small letters; what may stand around that; and how the value follows.
_HITS = re.compile("pass|pwd|pswd|pw|secret|token|credential|cookie|auth|sess|key|sig|sas|hmac|jwt|otp|code")
_KEYS = (
    *("api", "access", "auth", "account", "private", "secret", "shared", "encryption", "signing", "subscription"),
    *("master", "session", "service", "license", "licence", "application", "app", "functions", "client", "webhook"),
    *("admin", "ssh", "deploy", "aes", "rsa"),
)
_CORE = (
    r"pass(?:word|wd|phrase|code)?|pwd|pswd|pw|secret|token|credentials?|cookies?|auth|sess(?:ion)?id"
    rf"|(?:{'|'.join(_KEYS)})[ _.-]?key|signature|sig|sas|hmac|jwt|otp|key|code"
)
_TYPE = r"(?:str|bytes|string|any|[\w.]{0,20}secret\w{0,10}|[\w.]{0,20}(?:optional|union|final)\[[\w.|, ]{0,40}\])"
_HEAD = re.compile(
    rf"(?P<core>{_CORE})(?P<tail>[\w-]{{0,40}}+)"
    rf"(?P<sep>:[ \t]{{0,4}}{_TYPE}(?: ?\| ?none)?[ \t]{{0,4}}=[ \t]{{0,4}}(?=[bru]?[\"'])"  # annotated
    r"|(?:\\{0,7}[\"']\]?|\])?[ \t]{0,8}(?:=>|:=|={1,2}|:(?!:)|%3d|%3a)[ \t]{0,8}"
    r"|\\{0,7}[\"'],[ \t]{0,4}(?=b?\\{0,7}[\"'])"  # an item of a list or tuple
    r"|[ \t]{1,4}(?=[^\s=:-])"  # a flag on the command line
    r"|>(?=[^<\s]))",  # an element of XML
    re.IGNORECASE,
)
_QUOTED = re.compile(
    r"(?P<open>(?:[\w.]{0,30}Secret\w{0,12}\()?[bBrRuUfF]{0,2}(?P<quote>\\{0,7}[\"']))"
    r"(?P<value>(?:(?!(?P=quote))(?:\\[^\n]|[^\\\n]))*)(?P<close>(?P=quote)?)"
)
_MORE = r"(?:[^\s\"'<>\\&;,]|\\(?![\"'nrt])|[\"'](?=\w)|<(?![/A-Za-z])|>(?=\w)|[&;,](?!\s|$|[\w.%-]{1,40}\]?[=:]))*"
_BARE = re.compile(r"\{[^\s{}\"':]{1,100}\}(?=;|$)|[^\s\"'<>\\&;,{}()\[\]|]" + _MORE)  # the first of ODBC
_BARE_PASSWORD = re.compile(r"[{(\[|](?![\s\"'\\{(\[)\]}])" + _MORE)
_NAMED_ONLY = re.compile(r"=[ \t]+")
_TO_THE_END = re.compile(r"[^\r\n\"'\\]+")
_NOTHING = re.compile(
    r"(?:none|null|nil|undefined|unset|nan|true|false|yes|no|\*+|x{3,}|\.{3}|…|-+|\d|%s|%\(\w+\)s"
    r"|(?:self|cls|os|settings|config|cfg|args|env|environ)\.\w[\w.]*"  # where a program takes it from
    r"|[<\[(]?(?:redacted|filtered|masked|hidden|secure|removed|scrubbed|secret|none given)[>\])]?)[,;.)\]}]*",
    re.IGNORECASE,
)
# With these words at its end, a name is that of something about a secret.
_ABOUT = re.compile(
    r"(?:.*[_-])?(?:type|count|counter|limit|url|uri|endpoint|name|id|file|filename|path|dir|folder|field|column|col|len|"
    r"length|min|max|age|expiry|expire|expired|in|at|expiration|ttl|policy|hint|reset|required|valid|invalid|status|"
    r"error|format|version|size|budget|usage|bucket|manager|provider|arn|ref|missing|check|method|mode|algorithm|alg|"
    r"scheme|header|prefix|class|validator|store|rotation|strength|callback|enabled|index|position|pos|row|table|host|"
    r"port|created|updated|source|kind|scope|audience|issuer)s?",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Other letters than these, right behind it, make another word of it: `tokenizer`, `secretary`, `authority`.
_GLUED = re.compile(r"(?:s|\d+|keys?|values?|text|string|plain|hash|base64)?(?:[_-].*)?", re.IGNORECASE)
#: These begin a name, or a word in it: `bypass` and `compass` are other words.
_BEGIN = frozenset({"pass", "auth", "pw", "sig", "sas", "hmac", "jwt", "otp", "key", "code", "cookie", "cookies"})
# ... and before `token`, these: of a program that reads text, or of a model.
_OTHER_TOKENS = (
    *("pad", "eos", "bos", "unk", "sep", "cls", "mask", "special", "stop", "end", "start", "max", "min", "num"),
    *("total", "prompt", "completion", "input", "output", "unexpected", "unknown", "invalid", "next", "first"),
    *("last", "bad", "near", "at", "this", "that", "new", "offending", "illegal", "expected"),
)
# fmt: off
_PROSE = frozenset(
    {
        "a", "an", "and", "any", "are", "as", "at", "be", "but", "by", "can", "cannot", "could", "denied", "did",
        "do", "does", "empty", "expired", "failed", "for", "from", "had", "has", "have", "if", "in", "incorrect",
        "invalid", "is", "it", "its", "mismatch", "missing", "must", "need", "needs", "no", "not", "of", "on", "or",
        "please", "rejected", "required", "see", "should", "so", "that", "the", "this", "to", "too", "unknown",
        "unset", "use", "was", "were", "which", "will", "with", "without", "wrong", "you", "your",
    }
)
# fmt: on
_TYPES = frozenset(
    {
        "any",
        "bytes",
        "int",
        "object",
        "optional[str]",
        "secretstr",
        "str",
        "string",
        "str|none",
        "text",
        "varchar",
    }
)
_STRONG = re.compile(r"pass(?:word|wd|phrase)|pwd|pswd|secret|.+key", re.IGNORECASE)
_PASSWORD = re.compile(r"pass(?:word|wd|phrase)?|pwd|pswd", re.IGNORECASE)
_IN_QUERIES = {
    "key": "?&",
    "code": "?&",
    "pw": "?&;_",
    "sig": "?&;_",
    "sas": "?&;_",
    "hmac": "?&;_-",
    "signature": "?&;-_",
}
#: Only what looks random can be a value of these.
_VAGUE = frozenset({"key", "code", "auth"})


def _heads(text: str, low: str) -> Iterator[re.Match[str]]:
    """Find what may be the name of a value, and what leads from it to the value."""
    for hit in _HITS.finditer(low):
        start = hit.start()
        if hit[0] == "key":
            start = _before_key(low, start)
        head = _HEAD.match(text, start)
        if head is not None and (not head["sep"].isspace() or text.rfind("--", max(0, start - 42), start) >= 0):
            yield head


def _before_key(low: str, start: int) -> int:
    """Return where the name begins that ends with the word `key` at `start`: it depends on the word before it."""
    stem = low[max(0, start - 14) : start]
    stem = stem[:-1] if stem.endswith((" ", "_", ".", "-")) else stem
    if not stem.endswith(_KEYS):
        return start
    word = next(word for word in _KEYS if stem.endswith(word))
    return low.rindex(word, 0, start)


def _without_pairs(text: str, low: str, *, code: bool) -> str:
    parts: list[str] = []
    done = at = 0
    for head in _heads(text, low):
        if head.start() < at:
            continue
        span = _value_after(text, head, code=code) if _is_secret(head, text) else None
        if span is None:
            continue
        start, end, blotted = span
        if blotted:
            parts += (text[done:start], MARK)
            done = end
        at = end
    return "".join((*parts, text[done:])) if parts else text


def _is_secret(head: re.Match[str], text: str) -> bool:
    """Tell whether the name around the match is one of a secret."""
    core, tail, start = head["core"], head["tail"], head.start()
    low, before = core.lower(), text[max(0, start - 12) : start]
    if low in _BEGIN and before[-1:].isalnum() and not (core[0].isupper() and before[-1].islower()):
        return False
    if tail[:1].isalpha() and (core.isupper() or not tail[0].isupper()) and _GLUED.fullmatch(tail) is None:
        return False
    if tail and _ABOUT.fullmatch(_HUMP.sub("_", tail)):
        return False
    if low in _IN_QUERIES:
        return not tail and before[-1:] in _IN_QUERIES[low] and before != "" and "=" in f"{head['sep']}%3d"
    return low != "token" or not before.rstrip(" _-").lower().endswith(_OTHER_TOKENS)


def _value_after(text: str, head: re.Match[str], *, code: bool) -> tuple[int, int, bool] | None:
    """Return where the value lies and whether to blot it out; None where there is none."""
    at, sep = head.end(), head["sep"]
    listed = not sep.strip() or "," in sep
    if listed and not _takes_a_list(text, head):
        return None
    if sep == ">":
        inside = _ELEMENT.match(text, at) if _TAG.search(text[max(0, head.start() - 42) : head.start()]) else None
        return inside and (*inside.span(), not is_nothing(inside[0]))
    quoted = _QUOTED.match(text, at)
    if quoted is not None:
        return _quoted_value(text, quoted, head)
    return None if code else _bare_value(text, at, head)


def _quoted_value(text: str, quoted: re.Match[str], head: re.Match[str]) -> tuple[int, int, bool] | None:
    value, (start, end) = quoted["value"], quoted.span("value")
    if value.startswith(MARK):  # from here on, the text may be another than it was
        return start, start + len(MARK), False
    if is_nothing(value):
        return start, quoted.end(), False
    if "," in head["sep"] and not _takes_a_list(text, head, quoted.end()):
        return None
    if head["core"].lower() in _VAGUE and not head["tail"] and not looks_random(value):
        return None if len(value) < 100 else (start, quoted.end(), False)
    return start, end, True


def _bare_value(text: str, at: int, head: re.Match[str]) -> tuple[int, int, bool] | None:
    sep, core, tail = head["sep"], head["core"].lower(), head["tail"].lower()
    in_prose = ":" in sep and not sep.strip().startswith(('"', "'", "\\"))
    whole = in_prose and (core.endswith(("cookie", "cookies")) or core == "passphrase")
    bare = (_TO_THE_END if whole else _BARE).match(text, at)
    if bare is None and "=" in sep and _PASSWORD.fullmatch(core):
        bare = _BARE_PASSWORD.match(text, at)
    if bare is None:
        return None
    if bare[0].startswith(MARK):
        return at, at + len(MARK), False
    value = bare[0].rstrip(".,:;)]}>|") if bare[0][:1] != "{" else bare[0]
    weak = _STRONG.fullmatch(core) is None and not tail.endswith("key")
    if (
        is_nothing(value)
        or value.lower() == core
        or (core == "pwd" and value[0] in "/~" and not tail)  # the working directory
        or (weak and value.isdigit() and (len(value) < 6 or tail == "s"))
    ):
        return at, bare.end(), False
    vague = core in _VAGUE and not tail
    if vague and not looks_random(value):
        return None if len(value) < 100 else (at, bare.end(), False)
    after = text[bare.end() : bare.end() + 1]
    # A keyword that a sentence names has no value: "give webhook=, or token= with channel=".
    is_named_only = _NAMED_ONLY.fullmatch(sep) and value.lower() in _PROSE and after == " "
    if is_named_only or (in_prose and not whole and not _is_meant(value, after, weak=weak)):
        return None
    return at, at + len(value), True


def _is_meant(value: str, after: str, *, weak: bool) -> bool:
    """Tell a value from the first word of what is said about a secret, and from its type."""
    if weak:
        return looks_random(value) or len(value) >= 16
    return value.lower() not in _TYPES and (value.lower() not in _PROSE or after != " ")


def _takes_a_list(text: str, head: re.Match[str], end: int | None = None) -> bool:
    """Tell whether name and value are two items of a command line, or a tuple of just these two."""
    before = text[max(0, head.start() - 42) : head.start()]
    if _FLAG.search(before):
        return True
    if not head["sep"].strip() or (pair := _PAIR.search(before)) is None:
        return False
    if end is None:
        return True
    is_pair = _PAIR_END.match(text, end) is not None
    return is_pair and (pair[0][0] == "(" or looks_random(text[head.end() : end].strip("b\"'\\")))


_TAG = re.compile(r"<[\w:.-]*$")
_ELEMENT = re.compile(r"[^<\r\n]+")
_FLAG = re.compile(r"(?<![\w-])--[\w-]*$")
_PAIR = re.compile(r"[(\[][ \t]{0,4}b?\\*[\"'][\w-]*$")
_PAIR_END = re.compile(r"[ \t]{0,4}[)\]]")
