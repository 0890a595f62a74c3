"""Google: its clients over HTTP and gRPC, and gRPC's own errors from a real server."""

from typing import Any

from .corpus import LATE, PERMANENT, THROTTLED, TIMEOUT, TRANSIENT, case
from .servers import HOST, WEB, answering, closed_port, refusing, web


def by_storage(url: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})
    return client.get_bucket("flights", retry=None, timeout=0.3)


def _body(status: int, reason: str) -> dict[str, Any]:
    detail = {"domain": "usageLimits", "reason": reason, "message": "said so"}
    return {"error": {"code": status, "message": "said so", "errors": [detail]}}


STORAGE = (
    (403, "rateLimitExceeded", "Forbidden", THROTTLED, "a 403 that is a limit"),
    (403, "userRateLimitExceeded", "Forbidden", THROTTLED, "a 403 that is a limit"),
    (403, "forbidden", "Forbidden", PERMANENT, "the right is missing"),
    (403, "accountDisabled", "Forbidden", PERMANENT, "a person has to act"),
    (429, "rateLimitExceeded", "TooManyRequests", THROTTLED, "asks for fewer calls"),
    (503, "backendError", "ServiceUnavailable", TRANSIENT, "unavailable for now"),
    (404, "notFound", "NotFound", PERMANENT, "it does not appear by itself"),
    (412, "conditionNotMet", "PreconditionFailed", PERMANENT, "the object is another by now"),
    (400, "invalid", "BadRequest", PERMANENT, "the caller's mistake"),
)
for _status, _why, _error, _wanted, _reason in STORAGE:

    @case("google-cloud-storage", _error, f"{_status} {_why}", _wanted, _reason)
    def _(status=_status, why=_why) -> Any:
        with answering(status, _body(status, why)) as url:
            return by_storage(url)


@case("google-cloud-storage", "ReadTimeout", "no answer", TIMEOUT, "the next call may be answered")
def _() -> Any:
    with web(WEB["no answer"]) as url:
        return by_storage(url)


@case("google-cloud-storage", "ConnectionError", "refused", TRANSIENT, "the service may be starting")
def _() -> Any:
    return by_storage(refusing())


# gcsfs judges answers in a function of its own; its client needs an emulator that does more than answer.
for _status, _message, _error, _wanted, _reason in (
    (403, "forbidden", "OSError", PERMANENT, "the right is missing"),
    (404, "not found", "FileNotFoundError", PERMANENT, "it does not appear by itself"),
    (400, "invalid argument", "ValueError", PERMANENT, "the caller's mistake"),
    (429, "slow down", "HttpError", THROTTLED, "asks for fewer calls"),
    (502, "bad gateway", "ProxyError", TRANSIENT, "the gateway lost its backend"),
    (503, "backend error", "HttpError", TRANSIENT, "unavailable for now"),
    (401, "unauthorized", "HttpError", PERMANENT, "the key is wrong"),
):

    @case("gcsfs", _error, f"{_status} {_message}", _wanted, _reason, built=True)
    def _(status=_status, message=_message) -> Any:
        import json

        from gcsfs.retry import validate_response

        validate_response(status, json.dumps({"error": {"message": message}}), "flights/2013.csv")


# google.auth


def _refresh(answer: Any) -> Any:
    from google.auth.transport.requests import Request
    from google.oauth2.credentials import Credentials

    keys = {"refresh_token": "r", "client_id": "c", "client_secret": "s"}
    with answer as url:
        return Credentials(None, token_uri=url, **keys).refresh(lambda **asked: Request()(**asked | {"timeout": 0.3}))


@case("google-auth", "RefreshError", "400 invalid_grant", PERMANENT, "the grant was withdrawn")
def _() -> Any:
    return _refresh(answering(400, {"error": "invalid_grant", "error_description": "Token has been revoked."}))


@case("google-auth", "RefreshError", "503 from the token's server", TRANSIENT, "google.auth marks it as retryable")
def _() -> Any:
    return _refresh(answering(503, {"error": "internal_failure"}))


@case("google-auth", "TransportError", "no answer from the token's server", LATE, "the next call may be answered")
def _() -> Any:
    return _refresh(web(WEB["no answer"]))


@case("google-auth", "TransportError", "the token's server refuses connections", TRANSIENT, "it may be starting")
def _() -> Any:
    from contextlib import nullcontext

    return _refresh(nullcontext(refusing()))


@case("google-auth", "DefaultCredentialsError", "a file that is not there", PERMANENT, "the configuration is wrong")
def _() -> Any:
    import google.auth

    return google.auth.load_credentials_from_file("/no/such/key.json")


# gRPC


def _grpc(code_name: str, details: str = "said so", trailers: tuple[tuple[str, bytes], ...] = ()) -> Any:
    from concurrent import futures

    import grpc

    def answer(_request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(trailers)
        return context.abort(getattr(grpc.StatusCode, code_name), details)

    methods = {"Get": grpc.unary_unary_rpc_method_handler(answer)}
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("flights.Flights", methods),))
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    try:
        with grpc.insecure_channel(f"{HOST}:{port}") as channel:
            return channel.unary_unary("/flights.Flights/Get")(b"", timeout=5)
    finally:
        server.stop(0)


GRPC = (
    ("UNAVAILABLE", TRANSIENT, "the word for it"),
    ("RESOURCE_EXHAUSTED", THROTTLED, "asks for fewer calls"),
    ("DEADLINE_EXCEEDED", TIMEOUT, "it may be quicker next time"),
    ("ABORTED", TRANSIENT, "gRPC: the client may run the transaction again"),
    ("INVALID_ARGUMENT", PERMANENT, "the caller's mistake"),
    ("NOT_FOUND", PERMANENT, "it does not appear by itself"),
    ("PERMISSION_DENIED", PERMANENT, "the right is missing"),
    ("UNAUTHENTICATED", PERMANENT, "the credentials are wrong"),
    ("UNIMPLEMENTED", PERMANENT, "the server does not know this method"),
    ("FAILED_PRECONDITION", PERMANENT, "gRPC: not to be retried before the state is mended"),
)
for _name, _wanted, _reason in GRPC:

    @case("grpcio", "_InactiveRpcError", _name, _wanted, _reason)
    def _(name=_name) -> Any:
        return _grpc(name)


@case("grpcio", "_InactiveRpcError", "refused", TRANSIENT, "the service may be starting")
def _() -> Any:
    import grpc

    with grpc.insecure_channel(f"{HOST}:{closed_port()}") as channel:
        return channel.unary_unary("/flights.Flights/Get")(b"", timeout=2)


@case("grpcio", "_InactiveRpcError", "no answer within the deadline", TIMEOUT, "the next call may be answered")
def _() -> Any:
    import grpc

    from .servers import hang, serving

    with serving(hang) as port, grpc.insecure_channel(f"{HOST}:{port}") as channel:
        return channel.unary_unary("/flights.Flights/Get")(b"", timeout=0.2)


@case("grpcio", "AioRpcError", "UNAVAILABLE, in async code", TRANSIENT, "the service may be starting")
async def _() -> Any:
    import grpc

    async with grpc.aio.insecure_channel(f"{HOST}:{closed_port()}") as channel:
        await channel.unary_unary("/flights.Flights/Get")(b"", timeout=2)


for _name, _error, _wanted, _reason in (
    ("UNAVAILABLE", "ServiceUnavailable", TRANSIENT, "unavailable for now"),
    ("RESOURCE_EXHAUSTED", "ResourceExhausted", THROTTLED, "asks for fewer calls"),
    ("DEADLINE_EXCEEDED", "DeadlineExceeded", LATE, "it may be quicker next time"),
    ("ABORTED", "Aborted", TRANSIENT, "gRPC: the client may run the transaction again"),
    ("NOT_FOUND", "NotFound", PERMANENT, "it does not appear by itself"),
    ("ALREADY_EXISTS", "AlreadyExists", PERMANENT, "it is there"),
    ("PERMISSION_DENIED", "PermissionDenied", PERMANENT, "the right is missing"),
):

    @case("google-api-core", _error, f"from gRPC's {_name}", _wanted, _reason)
    def _(name=_name) -> Any:
        import grpc
        from google.api_core.exceptions import from_grpc_error

        try:
            _grpc(name)
        except grpc.RpcError as error:
            raise from_grpc_error(error) from error


for _deep, _wanted, _reason in (
    ("ServiceUnavailable", TRANSIENT, "what was retried was a 503"),
    ("TooManyRequests", THROTTLED, "what was retried was a 429"),
):

    @case("google-api-core", "RetryError", f"its own retries ran out on {_deep}", LATE | {_wanted}, _reason)
    def _(deep=_deep) -> Any:
        from google.api_core import exceptions
        from google.api_core.retry import Retry

        def call() -> None:
            raise getattr(exceptions, deep)("said so")

        return Retry(initial=0.01, maximum=0.01, timeout=0.05)(call)()
