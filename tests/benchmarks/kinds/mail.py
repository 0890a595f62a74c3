"""The standard library's clients of mail, files and XML-RPC, against servers that refuse."""

import socket
from typing import Any

from .corpus import MALFORMED, PERMANENT, TIMEOUT, TRANSIENT, case
from .servers import HOST, hang, serving, speaks

SHORT = 0.3


def _ftp(*replies: str) -> Any:
    from ftplib import FTP

    with serving(speaks(b"220 ready\r\n", *(f"{reply}\r\n".encode() for reply in replies))) as port:
        ftp = FTP(timeout=SHORT)
        ftp.connect(HOST, port)
        ftp.login("bob", "pw")
        return ftp.nlst()


@case("ftplib", "error_temp", "421: too many connections", TRANSIENT, "FTP's 4xx are for now")
def _() -> Any:
    return _ftp("421 Too many connections")


@case("ftplib", "error_temp", "450: the file is in use", TRANSIENT, "FTP's 4xx are for now")
def _() -> Any:
    return _ftp("230 in", "200 type", "450 File busy")


@case("ftplib", "error_perm", "530: wrong password", PERMANENT, "it stays wrong")
def _() -> Any:
    return _ftp("530 Login incorrect")


@case("ftplib", "TimeoutError", "no greeting", TIMEOUT, "the next call may be answered")
def _() -> Any:
    from ftplib import FTP

    with serving(hang) as port:
        return FTP(timeout=0.2).connect(HOST, port)


def _imap(answer: bytes) -> Any:
    import imaplib

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"* OK ready\r\n")
        for reply in (b"* CAPABILITY IMAP4rev1\r\n%s OK done\r\n", answer):
            tag = connection.recv(4096).split()[0]
            connection.sendall(reply % tag if b"%s" in reply else reply)

    with serving(handler) as port:
        return imaplib.IMAP4(HOST, port, timeout=1).login("bob", "pw")


@case("imaplib", "abort", "hangs up in the login", TRANSIENT, "'abort' asks for a new connection")
def _() -> Any:
    return _imap(b"")


@case("imaplib", "abort", "BYE: the server shuts down", TRANSIENT, "'abort' asks for a new connection")
def _() -> Any:
    return _imap(b"* BYE shutting down\r\n")


@case("imaplib", "error", "wrong password", PERMANENT, "it stays wrong")
def _() -> Any:
    return _imap(b"%s NO [AUTHENTICATIONFAILED] Invalid credentials\r\n")


@case("poplib", "error_proto", "-ERR [SYS/TEMP]", TRANSIENT, "RFC 3206: the fault is for now")
def _() -> Any:
    import poplib

    with serving(speaks(b"+OK ready\r\n", b"-ERR [SYS/TEMP] try again later\r\n")) as port:
        return poplib.POP3(HOST, port, timeout=1).user("bob")


@case("poplib", "error_proto", "-ERR [AUTH]", PERMANENT, "RFC 3206: the credentials are wrong")
def _() -> Any:
    import poplib

    with serving(speaks(b"+OK ready\r\n", b"-ERR [AUTH] Authentication failed\r\n")) as port:
        return poplib.POP3(HOST, port, timeout=1).user("bob")


def _smtp(*replies: str) -> Any:
    import smtplib

    with serving(speaks(*(f"{reply}\r\n".encode() for reply in replies))) as port:
        client = smtplib.SMTP(HOST, port, timeout=SHORT)
        return client.sendmail("a@example.org", ["b@example.org"], "text")


SMTP = (
    ("SMTPConnectError", "421 as the greeting", TRANSIENT, "busy for now", ("421 busy",)),
    (
        "SMTPRecipientsRefused",
        "450: greylisted",
        TRANSIENT,
        "asks to come again",
        ("220 hi", "250 me", "250 ok", "450 later"),
    ),
    (
        "SMTPRecipientsRefused",
        "550: no such user",
        PERMANENT,
        "stays unknown",
        ("220 hi", "250 me", "250 ok", "550 who?"),
    ),
    (
        "SMTPSenderRefused",
        "452: out of storage for now",
        TRANSIENT,
        "SMTP's 4xx are for now",
        ("220 hi", "250 me", "452 full"),
    ),
    ("SMTPDataError", "554: spam", PERMANENT, "SMTP's 5xx stay", ("220 hi", "250 me", "250 ok", "250 ok", "554 spam")),
)
for _error, _what, _wanted, _reason, _replies in SMTP:

    @case("smtplib", _error, _what, _wanted, _reason)
    def _(replies=_replies) -> Any:
        return _smtp(*replies)


@case("smtplib", "SMTPServerDisconnected", "hangs up", TRANSIENT, "a broken connection")
def _() -> Any:
    import smtplib

    with serving(lambda connection: None) as port:
        return smtplib.SMTP(HOST, port, timeout=SHORT)


@case("smtplib", "SMTPNotSupportedError", "the server offers no login", PERMANENT, "it does not learn it")
def _() -> Any:
    import smtplib

    with serving(speaks(b"220 hi\r\n", b"250 me\r\n")) as port:
        return smtplib.SMTP(HOST, port, timeout=SHORT).login("bob", "pw")


# xmlrpc


@case("xmlrpc", "ProtocolError", "503", TRANSIENT, "unavailable for now")
def _() -> Any:
    return _xmlrpc(503, "no")


@case("xmlrpc", "ProtocolError", "401", PERMANENT, "no right to it")
def _() -> Any:
    return _xmlrpc(401, "no")


@case("xmlrpc", "ExpatError", "HTML where XML is expected", MALFORMED, "it does not parse")
def _() -> Any:
    return _xmlrpc(200, "<html><br></html>")


@case("xmlrpc", "Fault", "no such method", PERMANENT, "the server's answer to a wrong call", built=True)
def _() -> Any:
    from xmlrpc.client import Fault

    return Fault(-32601, "method not found")


def _xmlrpc(status: int, body: str) -> Any:
    from xmlrpc.client import ServerProxy

    from .servers import answering

    with answering(status, body, {"Content-Type": "text/xml"}) as url:
        return ServerProxy(url).flights()
