"""Secrets on command lines, as text and as lists: `mysql -ppw`, `['curl', '-u', 'bob:pw']`.

`pairs` recognises long flags such as `--password` by their words. What a short flag means depends on the command.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from resilient_tasks.redaction.patterns import MARK, compiled, redact_inside_quotes
from resilient_tasks.redaction.secret_values import is_nothing, looks_random

#: Joins the items of a command line that was a list.
BETWEEN = "\0"

_PART = r"[^\s\"'\0:%,/]{1,64}"


def _forms(gap: str, word: str, rest: str, begin: str) -> dict[str, str]:
    """Return patterns for the ways in which a flag takes its value, with `flags` as a placeholder for the flag.

    Args:
        gap: matches what separates two words.
        word: matches a word with its quotes.
        rest: matches the rest of a word, up to the `quote` that it began with.
        begin: matches what precedes a flag, with an optional quote.
    """
    user = rf"(?:flags)(?:{gap}|=)?(?P<kept>b?(?P<quote>\\{{0,3}}[\"'])?{_PART}SIGN)(?P<secret>{rest})"
    return {
        "glued": rf"{begin}(?:flags)(?P<secret>(?(quote){rest}|{word}))",
        "next": rf"(?<![\w-])(?:flags){gap}(?P<secret>{word})",
        "either": rf"(?<![\w-])(?:flags)(?:{gap})?(?P<secret>{word})",
        "user:": "(?<![\\w-])" + user.replace("SIGN", ":(?!//)"),
        "user%": "(?<![\\w-])" + user.replace("SIGN", "%"),
        "user,": "(?<![\\w-])" + user.replace("SIGN", ","),
        "user/": rf"{gap}b?[\"']?{_PART}/(?P<secret>[^\s\"'\0]{{1,256}}?)(?=@|[\s\"'\0]|$)",
        "second": rf"{gap}b?[\"']?(?:flags){gap}b?[\"']?{_PART}{gap}(?P<secret>{word})",
        "third": rf"{gap}b?[\"']?(?:flags){gap}b?[\"']?{_PART}{gap}b?[\"']?{_PART}{gap}(?P<secret>{word})",
    }


#: In a text: a word as a shell reads it, fully or partly quoted, or an item of a printed list.
_SHELL_WORD = (
    r"(?:b?\\{0,3}(?:'(?:\\.|[^'\\\r\n])*+'?|\"(?:\\.|[^\"\\\r\n])*+\"?)|\\[^\r\n]"
    r"|[^\s\"'\0\\,\]]|[,\]](?![\s,\]]|$))++"
)
_IN_TEXT = _forms(
    r"(?:[ \t]+|\\*[\"'],[ \t]{0,4}(?=b?\\*[\"']))",
    _SHELL_WORD,
    rf"(?(quote)(?:\\.|(?!(?P=quote))[^\r\n\\])+|{_SHELL_WORD})",
    r"(?:(?P<quote>\\{0,3}[\"'])|(?<![\w\"'-]))",
)
#: In a list of words, joined by `BETWEEN`.
_IN_LIST = _forms(r"\0", r"[^\0]{1,512}", r"[^\0]{1,512}", r"(?P<quote>(?!))?(?<=\0)")
#: Commands, the form in which their flag takes a secret, and the flag.
_COMMANDS = (
    ("mysql mysqldump mysqladmin mysqlimport mysqlshow mysqlcheck mysqlsh mysqlpump mysqlbinlog", "glued", "-p"),
    ("mariadb mariadb-dump mariadb-admin mariadb-import mydumper myloader mytop", "glued", "-p"),
    ("innobackupex xtrabackup 7z 7za 7zr 7zz rar unrar", "glued", "-p"),
    ("sshpass", "either", "-p"),
    ("redis-cli valkey-cli keydb-cli", "either", "-a"),
    ("ldapsearch ldapadd ldapmodify ldapdelete ldapwhoami ldappasswd ldapcompare ldapmodrdn", "either", "-w"),
    (
        "docker podman nerdctl helm oras skopeo buildah crane cf ibmcloud oc az",
        "next",
        r"login\b[^\r\n]{0,200}?(?<![\w-])-p",
    ),
    ("mongo mongosh mongodump mongorestore mongoexport mongoimport mongostat cqlsh beeline hdbsql", "next", "-p"),
    ("twine useradd usermod", "next", "-p"),
    ("nodetool plink pscp psftp putty", "next", "-pw"),
    ("sqlcmd bcp isql osql tsql freebcp defncopy mosquitto_pub mosquitto_sub ipmitool unzip zip", "either", "-P"),
    ("smbclient rpcclient smbget winexe smbmap wmic pth-winexe net", "user%", "-U|--user"),
    ("lftp", "user,", "-u|--user"),
    ("http https xh", "user:", "-a|--auth"),
    ("cargo wandb", "next", "login"),
    ("prefect", "next", "-k"),
    ("mc mcli", "next", r"(?:set|add)\b[^\r\n]{0,200}?https?://[^\s\"'\0]{1,200}[\s\"',\0]{1,5}[^\s\"'\0]{1,128}"),
    ("az gcloud", "next", r"secret\b[^\r\n]{0,200}?(?<![\w-])--value"),
    ("aws", "next", r"(?:put|create|update)-\w[^\r\n]{0,300}?(?<![\w-])--(?:value|secret-string)"),
    ("gh", "next", r"secret\W{1,6}set\b[^\r\n]{0,200}?(?<![\w-])(?:--body|-b)"),
    ("wpa_passphrase", "next", r"[^\s\0-]{1,64}"),
    ("xfreerdp xfreerdp3 wfreerdp rdesktop", "glued", "/p:"),
    ("net", "next", "/user:[^\\s\"'\\0]{1,64}"),
    ("curl wget aria2c ftp", "user:", "-[a-zA-Z]{0,6}u|--user"),
    ("snmpwalk snmpget snmpset snmpbulkwalk snmptable", "next", "-A|-X|-c"),
    ("openssl", "next", "-k|-K|-pass(?:in|out)?"),
    ("htpasswd", "third", "-[a-zA-Z]*b[a-zA-Z]*"),
    ("htpasswd", "second", "-[a-zA-Z]*(?:nb|bn)[a-zA-Z]*"),
    ("net", "second", "user"),
    ("rabbitmqctl", "second", "add_user|change_password|authenticate_user"),
    ("vault", "next", "login"),
    ("influx gh op", "next", "-t"),
    ("sqlplus exp imp expdp impdp sqlldr rman", "user/", ""),
)
_CREDENTIALS = tuple(
    compiled(forms["user:"].replace("flags", "-[a-zA-Z]{0,6}u|-U|--user|--proxy-user"))
    for forms in (_IN_TEXT, _IN_LIST)
)
#: Commands whose `-u` takes a user and a group, or a user and a host.
_OF_SYSTEM = compiled(r"(?:docker|podman|nerdctl|kubectl|buildah|runuser|setpriv|chroot|chpst|crun|runc)(?![\w-])")
_FETCHES = compiled(r"curl\b|wget\b|https?\b|://|ftp")
_NAMES = "|".join(re.escape(name) for names, _, _ in _COMMANDS for name in names.split())
_COMMAND = compiled(rf"(?<![\w.-])({_NAMES})(?:\.exe)?(?=[\s\"'\0])")


@functools.cache
def _of_command(name: str, is_list: bool) -> list[re.Pattern[str]]:  # noqa: FBT001
    forms = _IN_LIST if is_list else _IN_TEXT
    return [compiled(forms[form].replace("flags", flags)) for names, form, flags in _COMMANDS if name in names.split()]


_LINE_ENDS = compiled(r"[\r\n]|[|;](?=\s)|\\n|&&")
#: How far after a command its flags are searched (characters).
_REACH = 400
HINTS = (
    *(" -", "--", "'-", '"-', "\0-", "sqlplus", "expdp", "impdp", "net us", "vault login", "rabbitmqctl", "rman"),
    *("cargo login", "wandb login", "mc alias", "wpa_passphrase", "freerdp "),
)
_FLAGS = compiled(
    r"(?:^|[\s\"'\0])-{1,2}[A-Za-z]|sqlplus|expdp|impdp|net us|rabbitmqctl|rman"
    r"|(?:vault|cargo|wandb) login|mc alias|wpa_|freerdp"
)


def redact(text: str) -> str:
    """Redact the secrets among the arguments of commands in `text`."""
    if not any(map(text.__contains__, HINTS)) or _FLAGS.search(text) is None:
        return text
    is_list = BETWEEN in text
    text = _CREDENTIALS[is_list].sub(_credentials, text)
    parts: list[str] = []
    done = 0
    for command in _COMMAND.finditer(text):
        if command.start() < done:
            continue
        line = text[command.end() : command.end() + _REACH]
        ends = None if is_list else _LINE_ENDS.search(line)
        line = line[: ends.start()] if ends else line
        clean = line
        for pattern in _of_command(command[1], is_list):
            clean = pattern.sub(_redacted, clean)
        if clean != line:
            parts += (text[done : command.end()], clean)
            done = command.end() + len(line)
    return "".join((*parts, text[done:])) if parts else text


def redact_list(items: Sequence[str]) -> list[str] | None:
    """Return the items of a command line with the secrets redacted; None if there are none."""
    line = BETWEEN.join(items)
    clean = redact(line)
    made = clean.split(BETWEEN)
    return made if clean != line and len(made) == len(items) else None


def _credentials(match: re.Match[str]) -> str:
    kept, secret, text = match["kept"], match["secret"], match.string
    before = text[max(0, match.start() - _REACH) : match.start()]
    before = before[max(before.rfind("\n"), before.rfind("|"), before.rfind(";")) + 1 :]
    behind = text[match.end() : match.end() + _REACH].partition("\n")[0]
    if (kept.strip("b\\\"':").isdigit() and secret.isdigit()) or _OF_SYSTEM.search(before):
        return match[0]
    if not looks_random(secret) and _FETCHES.search(before + "\n" + behind) is None:
        return match[0]
    return _redacted(match)


def _redacted(match: re.Match[str]) -> str:
    secret, whole = match["secret"], match[0]
    if BETWEEN in match.string:
        return f"{whole[: len(whole) - len(secret)]}{MARK}" if not is_nothing(secret) and secret[0] != "-" else whole
    bare = secret.strip("b\\\"'")
    if is_nothing(bare) or bare.startswith(("-", MARK, "env:", "file:", "fd:", "stdin")):
        return whole
    return redact_inside_quotes(match)
