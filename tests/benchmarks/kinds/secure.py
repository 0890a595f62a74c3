"""TLS through each client: a bad certificate stays bad, and a hang-up in the handshake is a broken connection."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from . import clouds, google_apis, models, services, stores, websocket
from .corpus import LATE, PERMANENT, case
from .servers import HOST, certificate, hang_up, read_exactly, serving, tls

SHORT = 0.3  # seconds that a client waits


def by_redis(url: str) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    limits = {"socket_timeout": SHORT, "retry": Retry(NoBackoff(), 0)}
    return redis.Redis("localhost", _port(url), ssl=True, protocol=2, **limits).get("a")


def by_mongo(url: str) -> Any:
    import pymongo

    limits = {"serverSelectionTimeoutMS": 300, "connectTimeoutMS": 200}
    return pymongo.MongoClient("localhost", _port(url), tls=True, **limits).flights.command("ping")


def by_smtplib(url: str) -> Any:
    import smtplib

    return smtplib.SMTP_SSL("localhost", _port(url), timeout=SHORT, context=ssl.create_default_context())


def by_imaplib(url: str) -> Any:
    import imaplib

    return imaplib.IMAP4_SSL("localhost", _port(url), timeout=SHORT, ssl_context=ssl.create_default_context())


def by_aiosmtplib(url: str) -> Any:
    import aiosmtplib

    return asyncio.run(aiosmtplib.SMTP(hostname="localhost", port=_port(url), use_tls=True, timeout=1).connect())


def by_asyncio(url: str) -> Any:
    return asyncio.run(asyncio.open_connection("localhost", _port(url), ssl=True))


def by_ssl(url: str) -> Any:
    with socket.create_connection((HOST, _port(url)), timeout=1) as connection:
        return ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")


def by_grpc(url: str) -> Any:
    import grpc

    with grpc.secure_channel(url.removeprefix("https://"), grpc.ssl_channel_credentials()) as channel:
        return channel.unary_unary("/flights.Flights/Get")(b"", timeout=2)


def by_ldap3(url: str) -> Any:
    import ldap3

    checks = ldap3.Tls(validate=ssl.CERT_REQUIRED)
    server = ldap3.Server("localhost", _port(url), use_ssl=True, tls=checks, connect_timeout=1)
    return ldap3.Connection(server, "u", "p", auto_bind=True)


def by_pika(url: str) -> Any:
    import pika

    secured = pika.SSLOptions(ssl.create_default_context(), "localhost")
    limits = {"socket_timeout": 1, "stack_timeout": 1, "connection_attempts": 1}
    return pika.BlockingConnection(pika.ConnectionParameters("localhost", _port(url), ssl_options=secured, **limits))


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


# The client, then the class for a bad certificate, and the one for a hang-up.
CLIENTS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "botocore": (clouds.by_s3, "SSLError", "SSLError"),
    "s3fs": (clouds.by_s3fs, "SSLError", "EndpointConnectionError"),
    "minio": (clouds.by_minio, "MaxRetryError", "MaxRetryError"),
    "azure-core": (clouds.by_blob, "ServiceRequestError", "ServiceRequestError"),
    "google-cloud-storage": (google_apis.by_storage, "SSLError", "SSLError"),
    "openai": (models.by_openai, "APIConnectionError", "APIConnectionError"),
    "anthropic": (models.by_anthropic, "APIConnectionError", "APIConnectionError"),
    "groq": (models.by_groq, "APIConnectionError", "APIConnectionError"),
    "mistralai": (models.by_mistral, "ConnectError", "ConnectError"),
    "cohere": (models.by_cohere, "ConnectError", "ConnectError"),
    "huggingface_hub": (models.by_hub, "ConnectError", "ConnectError"),
    "stripe": (services.by_stripe, "APIConnectionError", "APIConnectionError"),
    "twilio": (services.by_twilio, "SSLError", "SSLError"),
    "slack_sdk": (services.by_slack, "URLError", "URLError"),
    "PyGithub": (services.by_github, "SSLError", "SSLError"),
    "notion-client": (services.by_notion, "ConnectError", "ConnectError"),
    "kubernetes": (services.by_kubernetes, "MaxRetryError", "MaxRetryError"),
    "hvac": (services.by_vault, "SSLError", "SSLError"),
    "qdrant-client": (services.by_qdrant, "ResponseHandlingException", "ResponseHandlingException"),
    "mlflow-skinny": (services.by_mlflow, "MlflowException", "MlflowException"),
    "prefect": (services.by_prefect, "ConnectError", "ConnectError"),
    "elasticsearch": (stores.by_elastic, "TlsError", "TlsError"),
    "opensearch-py": (stores.by_opensearch, "SSLError", "SSLError"),
    "influxdb-client": (stores.by_influx, "ApiException", "ApiException"),
    "websockets": (websocket.by_websockets, "SSLCertVerificationError", "SSLEOFError"),
    "websocket-client": (websocket.by_websocket_client, "SSLCertVerificationError", "SSLEOFError"),
    "redis": (by_redis, "ConnectionError", "ConnectionError"),
    "pymongo": (by_mongo, "ServerSelectionTimeoutError", "ServerSelectionTimeoutError"),
    "smtplib": (by_smtplib, "SSLCertVerificationError", "SSLEOFError"),
    "imaplib": (by_imaplib, "SSLCertVerificationError", "SSLEOFError"),
    "aiosmtplib": (by_aiosmtplib, "SMTPConnectError", "SMTPConnectError"),
    "asyncio": (by_asyncio, "SSLCertVerificationError", "ConnectionResetError"),
    "ssl": (by_ssl, "SSLCertVerificationError", "SSLEOFError"),
    "grpcio": (by_grpc, "_InactiveRpcError", "_InactiveRpcError"),
    "ldap3": (by_ldap3, "LDAPSocketOpenError", "LDAPSocketOpenError"),
    "pika": (by_pika, "SSLCertVerificationError", "SSLEOFError"),
}
for _library, (_client, _bad, _gone) in CLIENTS.items():

    @case(_library, _bad, "a certificate signed by itself", PERMANENT, "it stays untrusted until a person acts")
    def _(client=_client) -> Any:
        with tls() as port:
            return client(f"https://localhost:{port}")

    @case(_library, _gone, "hangs up in the TLS handshake", LATE, "a broken connection, not a bad certificate")
    def _(client=_client) -> Any:
        with serving(hang_up) as port:
            return client(f"https://localhost:{port}")


def _postgres_with_tls(connection: socket.socket) -> None:
    read_exactly(connection, 8)  # the request for encryption
    connection.sendall(b"S")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate())
    with context.wrap_socket(connection, server_side=True) as secured:
        secured.recv(1)


for _library in ("psycopg", "psycopg2"):

    @case(_library, "OperationalError", "a certificate signed by itself", PERMANENT, "it stays untrusted")
    def _(library=_library) -> Any:
        from importlib import import_module

        with serving(_postgres_with_tls) as port:
            options = {"sslmode": "verify-full", "sslrootcert": "system", "connect_timeout": 2}
            return import_module(library).connect(host="localhost", port=port, user="u", dbname="d", **options)


@case("ssl", "SSLError", "a protocol that is too old", PERMANENT, "the two share no version")
def _() -> Any:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with serving(_only_old) as port, socket.create_connection((HOST, port), timeout=1) as connection:
        return context.wrap_socket(connection, server_hostname="localhost")


def _only_old(connection: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate())
    context.wrap_socket(connection, server_side=True)


@case("ssl", "FileNotFoundError", "a certificate's file that is not there", PERMANENT, "the configuration is wrong")
def _() -> Any:
    return ssl.create_default_context(cafile="/no/such.pem")
