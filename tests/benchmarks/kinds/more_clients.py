"""Clients added after the classifier was built, to test it on unseen errors."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .corpus import BUSY, LATE, PERMANENT, RESOURCE, THROTTLED, TIMEOUT, TRANSIENT, case
from .servers import HOST, WEB, answering, closed_port, refusing, tls, web

SHORT = 0.4  # seconds


def by_postgrest(url: str) -> Any:
    from postgrest import SyncPostgrestClient

    return SyncPostgrestClient(url, timeout=1).from_("t").select("*").execute()


def by_supabase_auth(url: str) -> Any:
    from supabase_auth import SyncGoTrueClient

    return SyncGoTrueClient(url=url, headers={}).sign_in_with_password({"email": "a@b.example", "password": "p"})


def by_pusher(url: str) -> Any:
    import pusher

    host, _, port = url.partition("//")[2].partition(":")
    client = pusher.Pusher("1", "k", "s", host=host, port=int(port), ssl=False, timeout=SHORT)
    return client.trigger("channel", "event", {})


def by_consul(url: str) -> Any:
    import consul

    host, _, port = url.partition("//")[2].partition(":")
    return consul.Consul(host=host, port=int(port)).agent.self()


def by_couchdb(url: str) -> Any:
    import couchdb

    return couchdb.Server(f"{url}/").version()


def by_tornado(url: str) -> Any:
    async def fetch() -> Any:
        from tornado.httpclient import AsyncHTTPClient

        return await AsyncHTTPClient(force_instance=True).fetch(url, request_timeout=SHORT)

    return asyncio.run(fetch())


def by_keycloak(url: str) -> Any:
    from keycloak import KeycloakOpenID

    client = KeycloakOpenID(server_url=f"{url}/", client_id="c", realm_name="r", timeout=SHORT, max_retries=0)
    return client.token("u", "p")


def by_mastodon(url: str) -> Any:
    from mastodon import Mastodon

    client = Mastodon(
        access_token="t", api_base_url=url, request_timeout=SHORT, ratelimit_method="throw", version_check_mode="none"
    )
    return client.account_verify_credentials()


def by_pyactiveresource(url: str) -> Any:
    from pyactiveresource.connection import Connection

    return Connection(url, timeout=SHORT).get("/flights.json")


def by_prawcore(url: str) -> Any:
    import requests
    from prawcore.sessions import Session

    response = requests.get(url, timeout=SHORT)
    return Session.STATUS_EXCEPTIONS[response.status_code](response)


Client = Callable[[str], Any]
ANSWERS: tuple[tuple[str, Client, str, int, object, Any, str], ...] = (
    ("postgrest", by_postgrest, "APIError", 409, {"code": "40001"}, TRANSIENT, "a serialization failure"),
    ("postgrest", by_postgrest, "APIError", 500, {"code": "57014"}, TIMEOUT, "a statement that took too long"),
    ("postgrest", by_postgrest, "APIError", 404, {"code": "42P01"}, PERMANENT, "there is no such table"),
    ("postgrest", by_postgrest, "APIError", 401, {"code": "PGRST301"}, PERMANENT, "the token has expired"),
    ("supabase_auth", by_supabase_auth, "AuthRetryableError", 502, {}, TRANSIENT, "the library says so"),
    ("supabase_auth", by_supabase_auth, "AuthApiError", 429, {"message": "slow down"}, THROTTLED, "too many"),
    ("supabase_auth", by_supabase_auth, "AuthApiError", 401, {"message": "bad"}, PERMANENT, "a wrong password"),
    ("pusher", by_pusher, "PusherBadStatus", 503, "upstream", BUSY, "unavailable for now"),
    ("pusher", by_pusher, "PusherBadAuth", 401, "bad key", PERMANENT, "a wrong key"),
    ("pusher", by_pusher, "PusherBadRequest", 400, "bad", PERMANENT, "the request is wrong"),
    ("python-consul", by_consul, "ConsulException", 503, "no leader", BUSY, "unavailable for now"),
    ("python-consul", by_consul, "ConsulException", 500, "No cluster leader", TRANSIENT, "a fault of the service"),
    ("couchdb", by_couchdb, "ServerError", 503, {"error": "down"}, BUSY, "unavailable for now"),
    ("couchdb", by_couchdb, "ServerError", 500, {"error": "no"}, TRANSIENT, "a fault of the service"),
    ("couchdb", by_couchdb, "ResourceNotFound", 404, {"error": "not_found"}, PERMANENT, "it is not there"),
    ("tornado", by_tornado, "HTTPClientError", 503, "no", BUSY, "unavailable for now"),
    ("tornado", by_tornado, "HTTPClientError", 404, "no", PERMANENT, "it is not there"),
    ("python-keycloak", by_keycloak, "KeycloakPostError", 503, {}, BUSY, "unavailable for now"),
    ("python-keycloak", by_keycloak, "KeycloakAuthenticationError", 401, {}, PERMANENT, "a wrong password"),
    ("Mastodon.py", by_mastodon, "MastodonBadGatewayError", 502, {}, TRANSIENT, "a gateway that lost its server"),
    ("Mastodon.py", by_mastodon, "MastodonUnauthorizedError", 401, {}, PERMANENT, "a wrong token"),
    ("pyactiveresource", by_pyactiveresource, "ServerError", 503, "no", BUSY, "unavailable for now"),
    ("pyactiveresource", by_pyactiveresource, "ResourceConflict", 409, "no", PERMANENT, "it is there already"),
    ("prawcore", by_prawcore, "TooManyRequests", 429, {}, THROTTLED, "too many"),
    ("prawcore", by_prawcore, "ServerError", 503, {}, BUSY, "unavailable for now"),
    ("prawcore", by_prawcore, "NotFound", 404, {}, PERMANENT, "it is not there"),
)
for _library, _client, _error, _status, _body, _wanted, _reason in ANSWERS:
    _what = f"{_status} {_body['code']}" if isinstance(_body, dict) and "code" in _body else str(_status)

    @case(_library, _error, _what, _wanted, _reason)
    def _(client=_client, status=_status, body=_body) -> Any:
        if isinstance(body, dict) and "code" in body:
            body = {"message": "no", "details": None, "hint": None, **body}
        with answering(status, body, {"Content-Type": "application/json"}) as url:
            return client(url)


REFUSED = (
    ("postgrest", by_postgrest, "ConnectError"),
    ("supabase_auth", by_supabase_auth, "AuthRetryableError"),
    ("pusher", by_pusher, "ConnectionError"),
    ("python-consul", by_consul, "ConnectionError"),
    ("couchdb", by_couchdb, "ConnectionRefusedError"),
    ("tornado", by_tornado, "ConnectionRefusedError"),
    ("python-keycloak", by_keycloak, "KeycloakConnectionError"),
    ("Mastodon.py", by_mastodon, "MastodonNetworkError"),
    ("pyactiveresource", by_pyactiveresource, "Error"),
)
for _library, _client, _error in REFUSED:

    @case(_library, _error, "refused", TRANSIENT, "the server may be starting")
    def _(client=_client) -> Any:
        return client(refusing())


@case("tornado", "HTTPTimeoutError", "no answer", LATE, "the next call may be answered")
def _() -> Any:
    with web(WEB["no answer"]) as url:
        return by_tornado(url)


@case("tornado", "SSLCertVerificationError", "a certificate signed by itself", PERMANENT, "it stays untrusted")
def _() -> Any:
    with tls() as port:
        return by_tornado(f"https://localhost:{port}")


@case("couchdb", "OSError", "hang-up", TRANSIENT, "a broken connection, of which it tells the number alone")
def _() -> Any:
    with web(WEB["hang-up"]) as url:
        return by_couchdb(url)


@case("asyncmy", "OperationalError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    import asyncmy

    async def connect() -> Any:
        return await asyncmy.connect(host=HOST, port=closed_port(), connect_timeout=1)

    return asyncio.run(connect())


@case("asyncua", "ConnectionRefusedError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    async def connect() -> None:
        from asyncua import Client

        async with Client(f"opc.tcp://{HOST}:{closed_port()}", timeout=1):
            pass

    return asyncio.run(connect())


@case("stomp.py", "ConnectFailedException", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    import stomp

    stomp.Connection([(HOST, closed_port())], reconnect_attempts_max=1).connect("a", "b", wait=True)


@case("pebble", "TimeoutError", "a task that takes too long", TIMEOUT, "the next call may be quicker")
def _() -> Any:
    import time

    import pebble

    with pebble.ProcessPool(1) as pool:
        return pool.schedule(time.sleep, args=[5], timeout=0.3).result()


@case("pebble", "ProcessExpired", "a worker that exits", RESOURCE, "the process that did the work has died")
def _() -> Any:
    import os

    import pebble

    with pebble.ProcessPool(1) as pool:
        return pool.schedule(os._exit, args=[5]).result()


@case("twisted", "ResponseNeverReceived", "a connection lost", TRANSIENT, "a broken connection", built=True)
def _() -> Any:
    from twisted.internet.error import ConnectionLost
    from twisted.python.failure import Failure
    from twisted.web.client import ResponseNeverReceived

    return ResponseNeverReceived([Failure(ConnectionLost())])


BUILT: tuple[tuple[str, str, str, tuple[Any, ...], Any, str], ...] = (
    ("asyncmy", "asyncmy.errors.OperationalError", "1213", (1213, "Deadlock found"), TRANSIENT, "a deadlock"),
    ("asyncmy", "asyncmy.errors.OperationalError", "1045", (1045, "Access denied"), PERMANENT, "a wrong password"),
    ("asyncmy", "asyncmy.errors.OperationalError", "1040", (1040, "Too many connections"), TRANSIENT, "full for now"),
    (
        "asyncmy",
        "asyncmy.errors.ProgrammingError",
        "1146",
        (1146, "No such table"),
        PERMANENT,
        "there is no such table",
    ),
    ("asyncua", "asyncua.ua.uaerrors.BadTimeout", "timeout", (), TIMEOUT, "no answer in time"),
    ("asyncua", "asyncua.ua.uaerrors.BadRequestTimeout", "timeout", (), TIMEOUT, "no answer in time"),
    ("asyncua", "asyncua.ua.uaerrors.BadConnectionClosed", "closed", (), TRANSIENT, "a broken connection"),
    ("asyncua", "asyncua.ua.uaerrors.BadTooManySessions", "sessions", (), BUSY, "full for now"),
    ("asyncua", "asyncua.ua.uaerrors.BadServerHalted", "halted", (), TRANSIENT, "the server is stopped for now"),
    ("asyncua", "asyncua.ua.uaerrors.BadNodeIdUnknown", "no node", (), PERMANENT, "there is no such node"),
    ("asyncua", "asyncua.ua.uaerrors.BadUserAccessDenied", "denied", (), PERMANENT, "not allowed"),
    ("asyncua", "asyncua.ua.uaerrors.BadCertificateInvalid", "certificate", (), PERMANENT, "it stays untrusted"),
    (
        "authlib",
        "authlib.integrations.base_client.OAuthError",
        "busy",
        ("temporarily_unavailable",),
        TRANSIENT,
        "for now",
    ),
    ("authlib", "authlib.integrations.base_client.OAuthError", "polls", ("slow_down",), THROTTLED, "RFC 8628"),
    ("authlib", "authlib.integrations.base_client.OAuthError", "grant", ("invalid_grant",), PERMANENT, "a wrong code"),
    ("stomp.py", "stomp.exception.NotConnectedException", "not connected", (), TRANSIENT, "a lost connection"),
    ("huey", "huey.exceptions.ResultTimeout", "a result", (), TIMEOUT, "no result in time"),
    ("huey", "huey.exceptions.RateLimitExceeded", "a limit", ("k", 3), THROTTLED, "too many"),
    ("huey", "huey.exceptions.ConfigurationError", "settings", (), PERMANENT, "the caller's mistake"),
    ("dramatiq", "dramatiq.errors.ConnectionClosed", "closed", ("x",), TRANSIENT, "a broken connection"),
    ("dramatiq", "dramatiq.errors.RateLimitExceeded", "a limit", ("x",), THROTTLED, "too many"),
    ("dramatiq", "dramatiq.errors.ActorNotFound", "no actor", ("x",), PERMANENT, "there is no such actor"),
    ("twisted", "twisted.internet.error.DNSLookupError", "a lookup", (), TRANSIENT, "name servers fail for a while"),
    ("twisted", "twisted.internet.error.ConnectionLost", "lost", (), TRANSIENT, "a broken connection"),
    ("twisted", "twisted.internet.error.TCPTimedOutError", "no answer", (), TIMEOUT, "no answer in time"),
    ("twisted", "twisted.internet.error.CertificateError", "a certificate", (), PERMANENT, "it stays untrusted"),
)
for _library, _path, _what, _args, _wanted, _reason in BUILT:

    @case(_library, _path.rpartition(".")[2], _what, _wanted, _reason, built=True)
    def _(path=_path, args=_args) -> Any:
        module, _, name = path.rpartition(".")
        return getattr(import_module(module), name)(*args)


AZURE = (
    ("azure-cosmos", "azure.cosmos.exceptions.CosmosHttpResponseError", "429", 429, THROTTLED, "too many"),
    ("azure-cosmos", "azure.cosmos.exceptions.CosmosHttpResponseError", "449", 449, TRANSIENT, "retry with"),
    ("azure-cosmos", "azure.cosmos.exceptions.CosmosResourceNotFoundError", "404", 404, PERMANENT, "it is not there"),
    ("azure-servicebus", "azure.servicebus.exceptions.ServiceBusServerBusyError", "busy", 0, BUSY, "full for now"),
    ("azure-servicebus", "azure.servicebus.exceptions.OperationTimeoutError", "late", 0, TIMEOUT, "no answer in time"),
    ("azure-servicebus", "azure.servicebus.exceptions.MessageSizeExceededError", "size", 0, PERMANENT, "too large"),
    (
        "azure-servicebus",
        "azure.servicebus.exceptions.MessagingEntityNotFoundError",
        "queue",
        0,
        PERMANENT,
        "none such",
    ),
)
for _library, _path, _what, _status, _wanted, _reason in AZURE:

    @case(_library, _path.rpartition(".")[2], _what, _wanted, _reason, built=True)
    def _(path=_path, status=_status) -> Any:
        module, _, name = path.rpartition(".")
        said: dict[str, Any] = {"message": "no", **({"status_code": status} if status else {})}
        return getattr(import_module(module), name)(**said)
