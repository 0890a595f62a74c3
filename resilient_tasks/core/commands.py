"""Secrets on command lines, as text and as lists: `mysql -ppw`, `['curl', '-u', 'bob:pw']`.

What a long flag such as `--password` names, `pairs` knows by its words. Of short flags the command says what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from resilient_tasks.core.registered import MARK
from resilient_tasks.core.secret_values import is_nothing, looks_random

#: Stands between the items of a command line that was a list.
BETWEEN = "\0"

_GAP = r"(?:[ \t]+[\"']?|\\*[\"'],[ \t]{0,4}b?\\*[\"']|\0)"
_WORD = r"[^\s\"'\0\\][^\s\"'\0]{0,255}"
_PART = r"[^\s\"'\0:%,/]{1,64}"

#: How a flag takes its value. What stands before the secret is kept.
_FORMS = {
    "glued": rf"({{flags}})()({_WORD})",
    "next": rf"((?:{{flags}}){_GAP})()({_WORD})",
    "either": rf"((?:{{flags}})(?:{_GAP})?)()({_WORD})",
    "user:": rf"((?:{{flags}})(?:{_GAP}|=)?)({_PART}:)({_WORD})",
    "user%": rf"((?:{{flags}})(?:{_GAP}|=)?)({_PART}%)({_WORD})",
    "user,": rf"((?:{{flags}})(?:{_GAP}|=)?)({_PART},)({_WORD})",
    "user/": rf"({_GAP})({_PART}/)({_WORD}?)(?=@|[\s\"'\0]|$)",
    "second": rf"({_GAP}(?:{{flags}}){_GAP})({_PART}{_GAP})({_WORD})",
    "third": rf"({_GAP}(?:{{flags}}){_GAP})({_PART}{_GAP}{_PART}{_GAP})({_WORD})",
}
#: Commands, how their flag takes a secret, and the flag.
_COMMANDS = (
    ("mysql mysqldump mysqladmin mysqlimport mysqlshow mysqlcheck mysqlsh mysqlpump mysqlbinlog", "glued", "-p"),
    ("mariadb mariadb-dump mariadb-admin mariadb-import mydumper myloader mytop innobackupex xtrabackup", "glued", "-p"),
    ("7z 7za 7zr 7zz rar unrar", "glued", "-p"),
    ("sshpass", "either", "-p"),
    ("redis-cli valkey-cli keydb-cli", "either", "-a"),
    ("ldapsearch ldapadd ldapmodify ldapdelete ldapwhoami ldappasswd ldapcompare ldapmodrdn", "either", "-w"),
    ("docker podman nerdctl helm oras skopeo buildah crane cf ibmcloud oc az", "next", r"login\b[^\r\n]{0,200}?(?<![\w-])-p"),
    ("mongo mongosh mongodump mongorestore mongoexport mongoimport mongostat cqlsh beeline hdbsql", "next", "-p"),
    ("nodetool plink pscp psftp putty", "next", "-pw"),
    ("sqlcmd bcp isql osql tsql freebcp defncopy mosquitto_pub mosquitto_sub ipmitool unzip zip", "either", "-P"),
    ("smbclient rpcclient smbget winexe smbmap wmic pth-winexe", "user%", "-U|--user"),
    ("lftp", "user,", "-u|--user"),
    ("http https xh", "user:", "-a|--auth"),
    ("curl wget aria2c ftp", "user:", "-u|--user"),
    ("snmpwalk snmpget snmpset snmpbulkwalk snmptable", "next", "-A|-X|-c"),
    ("openssl", "either", "-k|-K|-passin pass:|-passout pass:|-pass pass:"),
    ("openssl", "next", "-k|-K"),
    ("htpasswd", "third", "-[a-zA-Z]*b[a-zA-Z]*"),
    ("htpasswd", "second", "-[a-zA-Z]*(?:nb|bn)[a-zA-Z]*"),
    ("net", "second", "user"),
    ("rabbitmqctl", "second", "add_user|change_password|authenticate_user"),
    ("vault", "next", "login"),
    ("influx gh op", "next", "-t"),
    ("sqlplus exp imp expdp impdp sqlldr rman", "user/", ""),
)
_CREDENTIALS = re.compile(
    rf"((?<![\w-])(?:-u|-U|--user|--proxy-user)(?:{_GAP}|=))([\w.@+-]{{0,64}}:)(?!//)([^\s\"'\0]{{1,256}})"
)
#: Here, `-u` names a user and a group, or a user and a host.
_OF_SYSTEM = re.compile(r"(?<![\w-])(?:docker|podman|nerdctl|kubectl|buildah|runuser|setpriv|chroot|chpst|crun|runc)(?![\w-])")
_FETCHES = re.compile(r"\bcurl\b|\bwget\b|https?\b|://|\bftp")
_IN_PASS = re.compile(rf"((?<![\w-])-pass(?:in|out)?{_GAP}pass:)([^\s\"'\0]{{1,256}})")


def _compiled() -> tuple[re.Pattern[str], dict[str, list[re.Pattern[str]]]]:
    known: dict[str, list[re.Pattern[str]]] = {}
    for names, form, flags in _COMMANDS:
        before = "" if form in {"second", "third", "user/"} else r"(?<![\w-])"
        pattern = re.compile(before + _FORMS[form].replace("{flags}", flags))
        for name in names.split():
            known.setdefault(name, []).append(pattern)
    names = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    return re.compile(rf"(?<![\w.-])({names})(?:\.exe)?(?=[\s\"'\0])"), known


_COMMAND, _KNOWN = _compiled()
_LINE_ENDS = re.compile(r"[\r\n|;]|\\n|&&")
#: So far behind a command its flags are looked for (characters).
_REACH = 400
_HINT = re.compile(r"[\s\"'\0]-{1,2}[A-Za-z]|sqlplus|expdp|impdp|net user|vault login|rabbitmqctl|rman|sqlldr")


def blot(text: str) -> str:
    """Blot out of `text` what commands are given as secrets."""
    if _HINT.search(text) is None:
        return text
    text = _CREDENTIALS.sub(_credentials, text)
    if "pass:" in text:
        text = _IN_PASS.sub(rf"\1{MARK}", text)
    parts: list[str] = []
    done = 0
    for command in _COMMAND.finditer(text):
        if command.start() < done:
            continue
        line = text[command.end() : command.end() + _REACH]
        ends = _LINE_ENDS.search(line)
        line = line[: ends.start()] if ends else line
        clean = line
        for pattern in _KNOWN[command[1]]:
            clean = pattern.sub(_without_secret, clean)
        if clean is not line and clean != line:
            parts += (text[done : command.end()], clean)
            done = command.end() + len(line)
    return "".join((*parts, text[done:])) if parts else text


def without_secrets(items: Sequence[str]) -> list[str] | None:
    """Return the items of a command line without the secrets in them; None where they are as they were."""
    line = BETWEEN.join(items)
    clean = blot(line)
    made = clean.split(BETWEEN)
    return made if clean != line and len(made) == len(items) else None


def _credentials(match: re.Match[str]) -> str:
    before, user, secret = match.groups()
    line = match.string[max(0, match.start() - _REACH) : match.start()]
    line = line[max(line.rfind("\n"), line.rfind("|"), line.rfind(";")) + 1 :]
    if is_nothing(secret) or (user[:-1].isdigit() and secret.isdigit()) or _OF_SYSTEM.search(line):
        return match[0]
    line += match.string[match.end() : match.end() + _REACH].split("\n")[0]
    if not looks_random(secret) and _FETCHES.search(line) is None:
        return match[0]
    return f"{before}{user}{MARK}"


def _without_secret(match: re.Match[str]) -> str:
    before, kept, secret = match.groups()
    if is_nothing(secret.strip("\"'")) or secret.startswith(("-", MARK)) or (before == "-p" and secret.isdigit()):
        return match[0]
    return f"{before}{kept}{MARK}"
