# ruff: noqa: E501 -- one case, one line
"""Clients of language-model APIs and related services, connected to a server with their responses."""

from collections.abc import Callable
from typing import Any

from .corpus import BUSY, PERMANENT, THROTTLED, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import WEB, answering, refusing, streaming, web

ASKED = [{"role": "user", "content": "hi"}]


def by_openai(url: str, *, stream: bool = False) -> Any:
    import openai

    client = openai.OpenAI(api_key="k", base_url=url, max_retries=0, timeout=0.3)
    answer = client.chat.completions.create(model="m", messages=ASKED, stream=stream)
    return list(answer) if stream else answer


def by_anthropic(url: str, *, stream: bool = False) -> Any:
    import anthropic

    client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, timeout=0.3)
    answer = client.messages.create(model="m", messages=ASKED, max_tokens=9, stream=stream)
    return list(answer) if stream else answer


def by_groq(url: str) -> Any:
    import groq

    client = groq.Groq(api_key="k", base_url=url, max_retries=0, timeout=0.3)
    return client.chat.completions.create(model="m", messages=ASKED)


def by_mistral(url: str) -> Any:
    try:
        from mistralai.client import Mistral
    except ImportError:
        from mistralai import Mistral

    return Mistral(api_key="k", server_url=url, timeout_ms=300).chat.complete(model="m", messages=ASKED)


def by_cohere(url: str) -> Any:
    import cohere

    options = {"max_retries": 0}
    return cohere.ClientV2("k", base_url=url, timeout=0.3).chat(model="m", messages=ASKED, request_options=options)


def by_hub(url: str) -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=url, token=False).model_info("flights/model", timeout=0.3)


CLIENTS: dict[str, Callable[[str], Any]] = {
    "openai": by_openai,
    "anthropic": by_anthropic,
    "groq": by_groq,
    "mistralai": by_mistral,
    "cohere": by_cohere,
    "huggingface_hub": by_hub,
}


def _openai_says(kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": "said so", "type": kind, "param": None, "code": code}}


def _anthropic_says(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": "said so"}}


STATUSES = (
    ("openai", "RateLimitError", 429, _openai_says("requests", "rate_limit_exceeded"), THROTTLED, "asks for fewer calls"),
    ("openai", "RateLimitError", 429, _openai_says("insufficient_quota", "insufficient_quota"), PERMANENT, "the money is spent: a person has to act"),
    ("openai", "InternalServerError", 503, _openai_says("server_error"), TRANSIENT, "unavailable for now"),
    ("openai", "BadRequestError", 400, _openai_says("invalid_request_error", "context_length_exceeded"), PERMANENT, "the text stays too long"),
    ("openai", "AuthenticationError", 401, _openai_says("invalid_request_error", "invalid_api_key"), PERMANENT, "the key is wrong"),
    ("openai", "NotFoundError", 404, _openai_says("invalid_request_error", "model_not_found"), PERMANENT, "there is no such model"),
    ("anthropic", "RateLimitError", 429, _anthropic_says("rate_limit_error"), THROTTLED, "asks for fewer calls"),
    ("anthropic", "OverloadedError", 529, _anthropic_says("overloaded_error"), BUSY, "overloaded for now"),
    ("anthropic", "InternalServerError", 500, _anthropic_says("api_error"), TRANSIENT, "a fault of the service"),
    ("anthropic", "BadRequestError", 400, _anthropic_says("invalid_request_error"), PERMANENT, "the caller's mistake"),
    ("anthropic", "PermissionDeniedError", 403, _anthropic_says("permission_error"), PERMANENT, "the right is missing"),
    ("groq", "RateLimitError", 429, _openai_says("tokens", "rate_limit_exceeded"), THROTTLED, "asks for fewer calls"),
    ("groq", "InternalServerError", 503, _openai_says("internal_server_error"), TRANSIENT, "over capacity for now"),
    ("groq", "UnprocessableEntityError", 422, _openai_says("invalid_request_error"), PERMANENT, "the caller's mistake"),
    ("mistralai", "SDKError", 429, {"message": "Requests rate limit exceeded"}, THROTTLED, "asks for fewer calls"),
    ("mistralai", "SDKError", 503, {"message": "unavailable"}, TRANSIENT, "unavailable for now"),
    ("mistralai", "SDKError", 401, {"message": "Unauthorized"}, PERMANENT, "the key is wrong"),
    ("cohere", "TooManyRequestsError", 429, {"message": "limit"}, THROTTLED, "asks for fewer calls"),
    ("cohere", "ServiceUnavailableError", 503, {"message": "unavailable"}, TRANSIENT, "unavailable for now"),
    ("cohere", "UnauthorizedError", 401, {"message": "invalid api token"}, PERMANENT, "the key is wrong"),
    ("huggingface_hub", "HfHubHTTPError", 429, {"error": "rate limited"}, THROTTLED, "asks for fewer calls"),
    ("huggingface_hub", "HfHubHTTPError", 502, {"error": "bad gateway"}, TRANSIENT, "the gateway lost its backend"),
    ("huggingface_hub", "HfHubHTTPError", 401, {"error": "Invalid username or password."}, PERMANENT, "the key is wrong"),
)  # fmt: skip
for _library, _error, _status, _body, _wanted, _reason in STATUSES:
    _detail = _body.get("error") or _body.get("message")
    _code = (_detail.get("code") or _detail.get("type")) if isinstance(_detail, dict) else _detail

    @case(_library, _error, f"{_status} {_code}", _wanted, _reason)
    def _(client=CLIENTS[_library], status=_status, body=_body) -> Any:
        with answering(status, body) as url:
            return client(url)


LINKS = {
    "no answer": (TIMEOUT, "the next call may be answered", {
        "openai": "APITimeoutError", "anthropic": "APITimeoutError", "groq": "APITimeoutError",
        "mistralai": "ReadTimeout", "cohere": "ReadTimeout", "huggingface_hub": "ReadTimeout"}),
    "hang-up": (TRANSIENT, "the server closed before it answered", {
        "openai": "APIConnectionError", "anthropic": "APIConnectionError", "groq": "APIConnectionError",
        "mistralai": "RemoteProtocolError", "cohere": "RemoteProtocolError"}),
}  # fmt: skip
for _what, (_wanted, _reason, _errors) in LINKS.items():
    for _library, _error in _errors.items():

        @case(_library, _error, _what, _wanted, _reason)
        def _(client=CLIENTS[_library], handler=WEB[_what]) -> Any:
            with web(handler) as url:
                return client(url)


for _library, _error in {
    "openai": "APIConnectionError",
    "anthropic": "APIConnectionError",
    "groq": "APIConnectionError",
    "cohere": "ConnectError",
    "huggingface_hub": "ConnectError",
}.items():

    @case(_library, _error, "refused", TRANSIENT, "the service may be starting")
    def _(client=CLIENTS[_library]) -> Any:
        return client(refusing())


STREAMS = (
    ("openai", "APIError", 'data: {"error": {"message": "said so", "type": "server_error", "code": "server_error"}}', TRANSIENT, "a fault of the service, after the 200"),
    ("openai", "APIError", 'data: {"error": {"message": "said so", "type": "requests", "code": "rate_limit_exceeded"}}', THROTTLED, "a limit, after the 200"),
    ("openai", "APIError", 'data: {"error": {"message": "said so", "type": "invalid_request_error", "code": "content_filter"}}', PERMANENT, "the text is refused, after the 200"),
    ("anthropic", "APIStatusError", 'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}', BUSY, "overloaded, after the 200"),
    ("anthropic", "APIStatusError", 'event: error\ndata: {"type": "error", "error": {"type": "api_error", "message": "said so"}}', TRANSIENT, "a fault of the service, after the 200"),
    ("anthropic", "APIStatusError", 'event: error\ndata: {"type": "error", "error": {"type": "invalid_request_error", "message": "said so"}}', PERMANENT, "the caller's mistake, after the 200"),
)  # fmt: skip
for _library, _error, _event, _wanted, _reason in STREAMS:
    _kind = _event.rpartition('"code": ')[2].strip('"}') if _library == "openai" else _event.split('"')[9]

    @case(_library, _error, f"in mid-stream: {_kind}", _wanted, _reason)
    def _(client=CLIENTS[_library], event=_event) -> Any:
        with web(streaming(event)) as url:
            return client(url, stream=True)


@case("openai", "OpenAIError", "no key at all", PERMANENT, "the configuration lacks it")
def _() -> Any:
    import openai

    return openai.OpenAI(api_key=None)


@case(
    "openai",
    "APIResponseValidationError",
    "HTML with status 200 where JSON is expected",
    UNFIT,
    "another server answers",
    built=True,
)
def _() -> Any:
    import httpx
    import openai

    response = httpx.Response(200, text="<html/>", request=httpx.Request("POST", refusing()))
    return openai.APIResponseValidationError(response=response, body=None)


@case("huggingface_hub", "HFValidationError", "a name with blanks", PERMANENT, "the caller's mistake")
def _() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=refusing()).model_info("a b c")
