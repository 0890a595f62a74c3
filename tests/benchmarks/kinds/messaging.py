"""Queues, mail, remote shells, directories and names: everything that is neither HTTP nor a database."""

import asyncio
from typing import Any

from .corpus import BUSY, LATE, PERMANENT, RESOURCE, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import HOST, WEB, answering, closed_port, hang, hang_up, reset, serving, speaks, web

# AMQP: pika, aio-pika, kombu, celery


def by_pika(port: int) -> Any:
    import pika

    limits = {"socket_timeout": 0.3, "stack_timeout": 0.5, "connection_attempts": 1, "blocked_connection_timeout": 1}
    return pika.BlockingConnection(pika.ConnectionParameters(HOST, port, **limits))


@case("pika", "AMQPConnectionError", "refused", TRANSIENT, "the broker may be starting")
def _() -> Any:
    return by_pika(closed_port())


@case("pika", "AMQPConnectorStackTimeout", "no answer", LATE, "the next call may be answered")
def _() -> Any:
    with serving(hang) as port:
        return by_pika(port)


@case("pika", "IncompatibleProtocolError", "hangs up in the greeting", TRANSIENT, "so pika calls a broken connection here")
def _() -> Any:
    with serving(hang_up) as port:
        return by_pika(port)


PIKA = (
    ("ConnectionClosedByBroker", (320, "CONNECTION_FORCED - broker forced connection closure"), TRANSIENT, "the broker restarts"),
    ("StreamLostError", ("Stream connection lost: ConnectionResetError(104, 'Connection reset by peer')",), TRANSIENT, "a broken connection"),
    ("AMQPHeartbeatTimeout", ("No activity or too many missed heartbeats in the last 60 seconds",), LATE, "a broken connection"),
    ("ConnectionBlockedTimeout", ("Blocked connection timeout expired.",), LATE, "the broker is short of memory for now"),
    ("ProbableAuthenticationError", ("ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login was refused'",), PERMANENT, "the password is wrong"),
    ("ChannelClosedByBroker", (404, "NOT_FOUND - no queue 'flights' in vhost '/'"), PERMANENT, "it does not appear by itself"),
    ("ChannelClosedByBroker", (406, "PRECONDITION_FAILED - inequivalent arg 'durable'"), PERMANENT, "the queue is declared otherwise"),
)
for _error, _args, _wanted, _reason in PIKA:

    @case("pika", _error, str(_args[-1])[:60], _wanted, _reason, built=True)
    def _(error=_error, args=_args) -> Any:
        import pika.exceptions

        return getattr(pika.exceptions, error)(*args)


@case("aio-pika", "AMQPConnectionError", "refused", TRANSIENT, "the broker may be starting")
async def _() -> Any:
    import aio_pika

    await aio_pika.connect(f"amqp://u:p@{HOST}:{closed_port()}/", timeout=1)


@case("aio-pika", "TimeoutError", "no answer", TIMEOUT, "the next call may be answered")
async def _() -> Any:
    import aio_pika

    with serving(hang) as port:
        await aio_pika.connect(f"amqp://u:p@{HOST}:{port}/", timeout=0.2)


@case("aio-pika", "ProbableAuthenticationError", "403 ACCESS_REFUSED", PERMANENT, "the password is wrong", built=True)
def _() -> Any:
    from aiormq.exceptions import ProbableAuthenticationError

    return ProbableAuthenticationError("ACCESS_REFUSED - Login was refused")


@case("aio-pika", "DeliveryError", "the broker returned the message", PERMANENT, "no queue takes it", built=True)
def _() -> Any:
    from aio_pika.exceptions import DeliveryError

    return DeliveryError(None, None)


@case("kombu", "OperationalError", "refused", TRANSIENT, "the broker may be starting")
def _() -> Any:
    from kombu import Connection

    with Connection(f"amqp://u:p@{HOST}:{closed_port()}//", connect_timeout=0.5) as connection:
        return connection.ensure_connection(max_retries=0, interval_start=0)


@case("kombu", "ContentDisallowed", "pickle is not allowed", PERMANENT, "the configuration forbids it")
def _() -> Any:
    from kombu.serialization import loads

    return loads(b"x", "application/x-python-serialize", "binary", accept={"application/json"})


@case("kombu", "EncodeError", "a value that JSON has no form for", PERMANENT, "the caller's mistake")
def _() -> Any:
    from kombu.serialization import dumps

    return dumps(object(), "json")


@case("celery", "OperationalError", "the broker refuses connections", TRANSIENT, "the broker may be starting")
def _() -> Any:
    import celery

    app = celery.Celery(broker=f"amqp://u:p@{HOST}:{closed_port()}//", broker_connection_timeout=0.5)
    return app.send_task("flights", retry=False)


CELERY = (
    ("SoftTimeLimitExceeded", (), TIMEOUT, "it may be quicker next time"),
    ("TimeoutError", ("The operation timed out.",), TIMEOUT, "it may be quicker next time"),
    ("WorkerLostError", ("Worker exited prematurely: signal 9 (SIGKILL)",), RESOURCE, "memory ran out, mostly"),
    ("NotRegistered", ("flights",), PERMANENT, "the worker does not know this task"),
    ("ImproperlyConfigured", ("no broker",), PERMANENT, "the configuration is wrong"),
)
for _error, _args, _wanted, _reason in CELERY:

    @case("celery", _error, "as its worker raises it", _wanted, _reason, built=True)
    def _(error=_error, args=_args) -> Any:
        import celery.exceptions

        return getattr(celery.exceptions, error)(*args)


# Kafka, NATS, MQTT, ZooKeeper


@case("kafka-python", "KafkaTimeoutError", "refused until its limit", LATE, "the brokers may be starting")
def _() -> Any:
    import kafka

    limits = {"api_version_auto_timeout_ms": 300, "bootstrap_timeout_ms": 300, "request_timeout_ms": 500}
    allowed = {name: value for name, value in limits.items() if name in kafka.KafkaProducer.DEFAULT_CONFIG}
    return kafka.KafkaProducer(bootstrap_servers=f"{HOST}:{closed_port()}", max_block_ms=300, **allowed)


KAFKA = (
    ("KafkaTimeoutError", TIMEOUT, "it may be quicker next time"),
    ("RequestTimedOutError", TIMEOUT, "the broker waited for its replicas"),
    ("LeaderNotAvailableError", TRANSIENT, "a leader is being chosen"),
    ("NotLeaderForPartitionError", TRANSIENT, "a new leader was chosen"),
    ("ThrottlingQuotaExceededError", BUSY, "asks for fewer calls"),
    ("TopicAuthorizationFailedError", PERMANENT, "the right is missing"),
    ("MessageSizeTooLargeError", PERMANENT, "it stays too large"),
    ("UnsupportedVersionError", PERMANENT, "the broker does not learn it"),
)
for _error, _wanted, _reason in KAFKA:

    @case("kafka-python", _error, "as the broker answers", _wanted, _reason, built=True)
    def _(error=_error) -> Any:
        import kafka.errors

        return getattr(kafka.errors, error)("said so")


CONFLUENT = (
    ("_TRANSPORT", TRANSIENT, "a broken connection"),
    ("_ALL_BROKERS_DOWN", TRANSIENT, "brokers come back"),
    ("_TIMED_OUT", LATE, "it may be quicker next time"),
    ("NOT_LEADER_FOR_PARTITION", TRANSIENT, "a new leader was chosen"),
    ("UNKNOWN_TOPIC_OR_PART", PERMANENT, "it does not appear by itself"),
    ("TOPIC_AUTHORIZATION_FAILED", PERMANENT, "the right is missing"),
    ("MSG_SIZE_TOO_LARGE", PERMANENT, "it stays too large"),
)
for _code, _wanted, _reason in CONFLUENT:

    @case("confluent-kafka", "KafkaException", _code, _wanted, _reason, built=True)
    def _(code=_code) -> Any:
        import confluent_kafka

        retriable = code in {"_TRANSPORT", "NOT_LEADER_FOR_PARTITION"}
        number = getattr(confluent_kafka.KafkaError, code)
        return confluent_kafka.KafkaException(confluent_kafka.KafkaError(number, retriable=retriable))


@case("confluent-kafka", "KafkaException", "no answer about the topics", LATE, "the brokers may be starting")
def _() -> Any:
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": f"{HOST}:{closed_port()}", "log_level": 0}).list_topics(timeout=0.3)


@case("confluent-kafka", "KafkaException", "an option that it does not know", PERMANENT, "the caller's mistake")
def _() -> Any:
    import confluent_kafka

    return confluent_kafka.Producer({"bootstrap.server": HOST})


NATS = (
    ("NoServersError", TRANSIENT, "the servers may be starting"),
    ("TimeoutError", TIMEOUT, "it may be quicker next time"),
    ("NoRespondersError", TRANSIENT, "the responders may be starting"),
    ("ConnectionClosedError", TRANSIENT, "a broken connection"),
    ("AuthorizationError", PERMANENT, "the right is missing"),
    ("MaxPayloadError", PERMANENT, "it stays too large"),
    ("BadSubjectError", PERMANENT, "the caller's mistake"),
)
for _error, _wanted, _reason in NATS:

    @case("nats-py", _error, "as the client raises it", _wanted, _reason, built=True)
    def _(error=_error) -> Any:
        import nats.errors

        return getattr(nats.errors, error)()


@case("paho-mqtt", "ConnectionRefusedError", "refused", TRANSIENT, "the broker may be starting")
def _() -> Any:
    from paho.mqtt.client import CallbackAPIVersion, Client

    return Client(CallbackAPIVersion.VERSION2).connect(HOST, closed_port())


KAZOO = (
    ("ConnectionLoss", TRANSIENT, "a broken connection"),
    ("OperationTimeoutError", TIMEOUT, "it may be quicker next time"),
    ("NoNodeError", PERMANENT, "it does not appear by itself"),
    ("AuthFailedError", PERMANENT, "the password is wrong"),
)
for _error, _wanted, _reason in KAZOO:

    @case("kazoo", _error, "as the server answers", _wanted, _reason, built=True)
    def _(error=_error) -> Any:
        import kazoo.exceptions

        return getattr(kazoo.exceptions, error)()


@case("kazoo", "KazooTimeoutError", "refused until its limit", LATE, "the servers may be starting")
def _() -> Any:
    from kazoo.client import KazooClient

    return KazooClient(f"{HOST}:{closed_port()}", timeout=0.3).start(timeout=0.3)


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

    return asyncio.wait_for(asyncssh.connect(HOST, port, username="u", known_hosts=None, client_keys=None, config=None), 2)


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


