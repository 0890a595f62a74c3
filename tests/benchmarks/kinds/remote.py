"""Remote shells, directories, names, mail and SOAP."""

import asyncio
from typing import Any

from .corpus import BUSY, LATE, PERMANENT, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import HOST, WEB, answering, closed_port, hang, hang_up, serving, speaks, web

# SSH


def by_paramiko(port: int) -> Any:
    import paramiko

    client = paramiko.SSHClient()
    limits = {"timeout": 0.5, "banner_timeout": 0.3, "auth_timeout": 0.5}
    return client.connect(HOST, port, "u", "p", allow_agent=False, look_for_keys=False, **limits)


@case("paramiko", "NoValidConnectionsError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    return by_paramiko(closed_port())


@case("paramiko", "SSHException", "no banner in time", LATE, "the next call may be answered")
def _() -> Any:
    with serving(hang) as port:
        return by_paramiko(port)


@case("paramiko", "SSHException", "not SSH", TRANSIENT, "busy servers send a line instead of a banner", built=True)
def _() -> Any:
    import paramiko

    return paramiko.SSHException("Error reading SSH protocol banner")


PARAMIKO = (
    ("AuthenticationException", ("Authentication failed.",), PERMANENT, "the password is wrong"),
    ("BadAuthenticationType", ("Bad authentication type", ["publickey"]), PERMANENT, "the server takes no password"),
    ("PasswordRequiredException", ("Private key file is encrypted",), PERMANENT, "the passphrase is missing"),
    ("ChannelException", (4, "Resource shortage"), BUSY, "other channels end"),
)
for _error, _args, _wanted, _reason in PARAMIKO:

    @case("paramiko", _error, str(_args[0]), _wanted, _reason, built=True)
    def _(error=_error, args=_args) -> Any:
        import paramiko.ssh_exception

        return getattr(paramiko.ssh_exception, error)(*args)


def by_asyncssh(port: int) -> Any:
    import asyncssh

    return asyncio.wait_for(
        asyncssh.connect(HOST, port, username="u", known_hosts=None, client_keys=None, config=None), 2
    )


@case("asyncssh", "ConnectionRefusedError", "refused", TRANSIENT, "the server may be starting")
async def _() -> Any:
    await by_asyncssh(closed_port())


@case("asyncssh", "ConnectionLost", "hangs up before the banner", TRANSIENT, "a broken connection")
async def _() -> Any:
    with serving(hang_up) as port:
        await by_asyncssh(port)


ASYNCSSH = (
    ("PermissionDenied", PERMANENT, "the password is wrong"),
    ("HostKeyNotVerifiable", PERMANENT, "the key stays unknown"),
    ("ConnectionLost", TRANSIENT, "a broken connection"),
)
for _error, _wanted, _reason in ASYNCSSH:

    @case("asyncssh", _error, "as the client raises it", _wanted, _reason, built=True)
    def _(error=_error) -> Any:
        import asyncssh

        return getattr(asyncssh, error)("said so")


# LDAP and names


@case("ldap3", "LDAPSocketOpenError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    import ldap3

    return ldap3.Connection(ldap3.Server(HOST, closed_port(), connect_timeout=0.5), "u", "p", auto_bind=True)


LDAP = (
    ("LDAPBusyResult", BUSY, "busy for now"),
    ("LDAPUnavailableResult", TRANSIENT, "unavailable for now"),
    ("LDAPTimeLimitExceededResult", LATE, "it may be quicker next time"),
    ("LDAPInvalidCredentialsResult", PERMANENT, "the password is wrong"),
    ("LDAPNoSuchObjectResult", PERMANENT, "it does not appear by itself"),
    ("LDAPInsufficientAccessRightsResult", PERMANENT, "the right is missing"),
)
for _error, _wanted, _reason in LDAP:

    @case("ldap3", _error, "as the server answers", _wanted, _reason, built=True)
    def _(error=_error) -> Any:
        from ldap3.core import exceptions

        number = next(code for code, one in exceptions.exception_table.items() if one.__name__ == error)
        return exceptions.LDAPOperationResult(result=number, description="said so", dn="", message="", response_type="")


def by_dnspython(code: str | None) -> Any:
    import socket
    import threading

    import dns.message
    import dns.rcode
    import dns.resolver

    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((HOST, 0))
    server.settimeout(2)

    def answer() -> None:
        asked, peer = server.recvfrom(4096)
        response = dns.message.make_response(dns.message.from_wire(asked))
        response.set_rcode(dns.rcode.from_text(code))
        server.sendto(response.to_wire(), peer)

    if code is not None:
        threading.Thread(target=answer, daemon=True).start()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = [HOST], server.getsockname()[1], 0.4
    with server:
        return resolver.resolve("flights.test", "A", search=False)


@case("dnspython", "NoNameservers", "SERVFAIL", TRANSIENT, "the name server fails for a while")
def _() -> Any:
    return by_dnspython("SERVFAIL")


@case("dnspython", "LifetimeTimeout", "no answer", TIMEOUT, "the next call may be answered")
def _() -> Any:
    return by_dnspython(None)


@case("dnspython", "EmptyLabel", "a name with two dots", PERMANENT, "the caller's mistake")
def _() -> Any:
    import dns.name

    return dns.name.from_text("a..b")


# Mail and SOAP


def _aiosmtplib(*replies: str) -> Any:
    import aiosmtplib

    async def ask() -> Any:
        with serving(speaks(*(f"{reply}\r\n".encode() for reply in replies))) as port:
            options = {"hostname": HOST, "port": port, "timeout": 0.5, "start_tls": False}
            return await aiosmtplib.send("text", sender="a@example.org", recipients=["b@example.org"], **options)

    return ask()


MAIL = (
    ("SMTPConnectResponseError", ("421 busy",), TRANSIENT, "busy for now"),
    ("SMTPRecipientsRefused", ("220 hi", "250 me", "250 ok", "451 later"), TRANSIENT, "asks to come again"),
    ("SMTPRecipientsRefused", ("220 hi", "250 me", "250 ok", "550 who?"), PERMANENT, "stays unknown"),
    ("SMTPDataError", ("220 hi", "250 me", "250 ok", "250 ok", "554 spam"), PERMANENT, "SMTP's 5xx stay"),
)
for _error, _replies, _wanted, _reason in MAIL:

    @case("aiosmtplib", _error, _replies[-1], _wanted, _reason)
    def _(replies=_replies) -> Any:
        return _aiosmtplib(*replies)


@case("aiosmtplib", "SMTPConnectError", "refused", TRANSIENT, "the server may be starting")
async def _() -> Any:
    import aiosmtplib

    await aiosmtplib.SMTP(hostname=HOST, port=closed_port(), timeout=1).connect()


def by_zeep(url: str) -> Any:
    import zeep

    return zeep.Client(f"{url}/flights?wsdl", transport=zeep.Transport(timeout=0.3, operation_timeout=0.3))


@case("zeep", "HTTPError", "503 for the WSDL", TRANSIENT, "unavailable for now")
def _() -> Any:
    with answering(503) as url:
        return by_zeep(url)


@case("zeep", "ReadTimeout", "no answer", TIMEOUT, "the next call may be answered")
def _() -> Any:
    with web(WEB["no answer"]) as url:
        return by_zeep(url)


@case("zeep", "XMLSyntaxError", "HTML where WSDL is expected", UNFIT, "it does not parse")
def _() -> Any:
    with answering(200, "<html><br></html>") as url:
        return by_zeep(url)


@case("zeep", "Fault", "soap:Client", PERMANENT, "SOAP: the message is wrong", built=True)
def _() -> Any:
    from zeep.exceptions import Fault

    return Fault("no such flight", code="soap:Client")


@case("zeep", "TransportError", "503 for the call", TRANSIENT, "unavailable for now", built=True)
def _() -> Any:
    from zeep.exceptions import TransportError

    return TransportError(message="Server returned HTTP status 503 (no content available)", status_code=503)
