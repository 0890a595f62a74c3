# ruff: noqa: E501 -- one case, one line
"""More clients of web services: Google's generic one, spreadsheets, maps, chats, music, calendars, wikis."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from .corpus import BUSY, LATE, PERMANENT, THROTTLED, TRANSIENT, case
from .servers import WEB, answering, refusing, web

SHORT = 0.3  # seconds that a client waits


def by_googleapi(url: str) -> Any:
    import httplib2
    from googleapiclient.discovery import build_from_document

    method = {"id": "f.get", "path": "flights", "httpMethod": "GET"}
    described = {"name": "f", "version": "v1", "rootUrl": f"{url}/", "servicePath": "", "batchPath": "batch"}
    service = build_from_document(described | {"methods": {"get": method}}, http=httplib2.Http(timeout=SHORT))
    return service.get().execute()


def by_gspread(url: str) -> Any:
    import gspread
    import requests

    class Local(requests.Session):
        def request(self, *_args: Any, **_options: Any) -> Any:
            return super().request("GET", url, timeout=SHORT)

    return gspread.Client(None, session=Local()).open_by_key("a")


def by_geopy(url: str) -> Any:
    from geopy.adapters import URLLibAdapter
    from geopy.geocoders import Nominatim

    scheme, _, domain = url.partition("://")
    place = {"domain": domain, "scheme": scheme, "adapter_factory": URLLibAdapter}
    return Nominatim(user_agent="flights", timeout=SHORT, **place).geocode("Newark")


def by_telegram(url: str) -> Any:
    import telegram
    from telegram.request import HTTPXRequest

    async def ask() -> Any:
        request = HTTPXRequest(read_timeout=SHORT, connect_timeout=SHORT)
        async with telegram.Bot("1:a", base_url=f"{url}/bot", request=request) as bot:
            return await bot.get_me()

    return asyncio.run(ask())


def by_spotipy(url: str) -> Any:
    import spotipy

    client = spotipy.Spotify(auth="t", requests_timeout=SHORT, retries=0, status_retries=0)
    client.prefix = f"{url}/"
    return client.current_user()


def by_ollama(url: str) -> Any:
    import ollama

    return ollama.Client(url, timeout=SHORT).generate("m", "hi")


def by_replicate(url: str) -> Any:
    import replicate

    return replicate.Client("t", base_url=url, timeout=SHORT).models.get("a/b")


def by_airtable(url: str) -> Any:
    import pyairtable

    return pyairtable.Api("k", endpoint_url=url, timeout=(SHORT, SHORT), retry_strategy=None).table("a", "b").all()


def by_confluence(url: str) -> Any:
    from atlassian import Confluence

    return Confluence(url, token="t", timeout=1).get_page_by_id("1")


def by_meilisearch(url: str) -> Any:
    import meilisearch

    return meilisearch.Client(url, "k", timeout=1).get_index("a")


def by_typesense(url: str) -> Any:
    import typesense

    host, _, port = url.partition("//")[2].partition(":")
    node = {"host": host, "port": port, "protocol": "http"}
    settings = {"nodes": [node], "api_key": "k", "connection_timeout_seconds": SHORT, "num_retries": 0}
    return typesense.Client(settings).collections["a"].retrieve()


def by_pysolr(url: str) -> Any:
    import pysolr

    return pysolr.Solr(f"{url}/solr/flights", timeout=SHORT).search("*:*")


def by_dropbox(url: str) -> Any:
    import dropbox
    import requests

    class Local(requests.Session):
        def post(self, _url: str, **options: Any) -> Any:
            return requests.post(url, headers=options.get("headers"), timeout=SHORT)

    return dropbox.Dropbox(
        "t", session=Local(), max_retries_on_error=0, max_retries_on_rate_limit=0
    ).users_get_current_account()


CLIENTS: dict[str, Callable[[str], Any]] = {
    "google-api-python-client": by_googleapi,
    "gspread": by_gspread,
    "geopy": by_geopy,
    "python-telegram-bot": by_telegram,
    "spotipy": by_spotipy,
    "ollama": by_ollama,
    "replicate": by_replicate,
    "pyairtable": by_airtable,
    "atlassian-python-api": by_confluence,
    "meilisearch": by_meilisearch,
    "typesense": by_typesense,
    "pysolr": by_pysolr,
    "dropbox": by_dropbox,
}


def _google(status: int, reason: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": "said so", "errors": [{"domain": "usageLimits", "reason": reason}]}}


def _telegram(code: int, text: str, **more: Any) -> dict[str, Any]:
    return {"ok": False, "error_code": code, "description": text} | more


ANSWERS: tuple[tuple[str, str, int, Any, dict[str, str], Any, str], ...] = (
    ("google-api-python-client", "HttpError", 403, _google(403, "rateLimitExceeded"), {}, THROTTLED, "a 403 that is a limit"),
    ("google-api-python-client", "HttpError", 403, _google(403, "insufficientPermissions"), {}, PERMANENT, "the right is missing"),
    ("google-api-python-client", "HttpError", 503, _google(503, "backendError"), {}, TRANSIENT, "unavailable for now"),
    ("google-api-python-client", "HttpError", 404, _google(404, "notFound"), {}, PERMANENT, "it does not appear by itself"),
    ("gspread", "APIError", 429, {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}, {}, THROTTLED, "asks for fewer calls"),
    ("gspread", "APIError", 500, {"error": {"code": 500, "message": "no", "status": "INTERNAL"}}, {}, TRANSIENT, "a fault of the service"),
    ("gspread", "APIError", 400, {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}, {}, PERMANENT, "the caller's mistake"),
    ("geopy", "GeocoderRateLimited", 429, "no", {"Retry-After": "5"}, THROTTLED, "asks for fewer calls"),
    ("geopy", "GeocoderServiceError", 500, "no", {}, TRANSIENT, "a fault of the service"),
    ("geopy", "GeocoderInsufficientPrivileges", 403, "no", {}, PERMANENT, "the right is missing"),
    ("geopy", "GeocoderQueryError", 400, "no", {}, PERMANENT, "the caller's mistake"),
    ("python-telegram-bot", "RetryAfter", 429, _telegram(429, "Too Many Requests: retry after 5", parameters={"retry_after": 5}), {}, THROTTLED, "names the time of the next call"),
    ("python-telegram-bot", "InvalidToken", 401, _telegram(401, "Unauthorized"), {}, PERMANENT, "the token is wrong"),
    ("python-telegram-bot", "Forbidden", 403, _telegram(403, "Forbidden: bot was blocked by the user"), {}, PERMANENT, "the user said so"),
    ("python-telegram-bot", "BadRequest", 400, _telegram(400, "Bad Request: chat not found"), {}, PERMANENT, "it does not appear by itself"),
    ("python-telegram-bot", "NetworkError", 502, "<html/>", {}, TRANSIENT, "the gateway lost its backend"),
    ("spotipy", "SpotifyException", 429, {"error": {"status": 429, "message": "no"}}, {"Retry-After": "3"}, THROTTLED, "asks for fewer calls"),
    ("spotipy", "SpotifyException", 401, {"error": {"status": 401, "message": "The access token expired"}}, {}, PERMANENT, "it stays expired"),
    ("spotipy", "SpotifyException", 503, {"error": {"status": 503, "message": "no"}}, {}, BUSY, "unavailable for now, which spotipy calls 429"),
    ("ollama", "ResponseError", 404, {"error": "model 'm' not found"}, {}, PERMANENT, "it does not appear by itself"),
    ("ollama", "ResponseError", 503, {"error": "server busy, please try again"}, {}, BUSY, "it says so"),
    ("pyairtable", "HTTPError", 429, {"errors": []}, {}, THROTTLED, "asks for fewer calls"),
    ("pyairtable", "HTTPError", 422, {"error": {"type": "INVALID_REQUEST"}}, {}, PERMANENT, "the caller's mistake"),
    ("atlassian-python-api", "HTTPError", 403, {"message": "no"}, {}, PERMANENT, "the right is missing"),
    ("atlassian-python-api", "HTTPError", 503, {"message": "no"}, {}, TRANSIENT, "unavailable for now"),
    ("meilisearch", "MeilisearchApiError", 404, {"message": "no", "code": "index_not_found", "type": "invalid_request", "link": ""}, {}, PERMANENT, "it does not appear by itself"),
    ("meilisearch", "MeilisearchApiError", 503, {"message": "no", "code": "too_many_search_requests", "type": "system", "link": ""}, {}, BUSY, "asks for fewer calls"),
    ("typesense", "ObjectNotFound", 404, {"message": "Not found"}, {}, PERMANENT, "it does not appear by itself"),
    ("typesense", "ServiceUnavailable", 503, {"message": "Not Ready or Lagging"}, {}, TRANSIENT, "it is ready soon"),
    ("typesense", "RequestUnauthorized", 401, {"message": "Forbidden"}, {}, PERMANENT, "the key is wrong"),
    ("pysolr", "SolrError", 400, "undefined field", {}, PERMANENT, "the caller's mistake"),
    ("pysolr", "SolrError", 503, "no servers hosting shard", {}, TRANSIENT, "the shard comes back"),
    ("dropbox", "RateLimitError", 429, {"error_summary": "too_many_requests/", "error": {"reason": {".tag": "too_many_requests"}, "retry_after": 5}}, {}, THROTTLED, "asks for fewer calls"),
    ("dropbox", "InternalServerError", 500, "no", {}, TRANSIENT, "a fault of the service"),
    ("dropbox", "AuthError", 401, {"error_summary": "expired_access_token/", "error": {".tag": "expired_access_token"}}, {}, PERMANENT, "it stays expired"),
)  # fmt: skip
for _library, _error, _status, _body, _headers, _wanted, _reason in ANSWERS:
    _words = json.dumps(_body.get("error", {}).get("errors", _body) if _library.startswith("google") else _body)[:70]

    @case(_library, _error, f"{_status} {_words}", _wanted, _reason)
    def _(client=CLIENTS[_library], status=_status, body=_body, headers=_headers) -> Any:
        with answering(status, body, headers) as url:
            return client(url)


REFUSALS = {
    "google-api-python-client": "ConnectionRefusedError",
    "gspread": "ConnectionError",
    "geopy": "GeocoderServiceError",
    "python-telegram-bot": "NetworkError",
    "spotipy": "ConnectionError",
    "ollama": "ConnectionError",
    "replicate": "ConnectError",
    "pyairtable": "ConnectionError",
    "meilisearch": "MeilisearchCommunicationError",
    "typesense": "ConnectError",
    "pysolr": "SolrError",
    "dropbox": "ConnectionError",
}
for _library, _error in REFUSALS.items():

    @case(_library, _error, "refused", TRANSIENT, "the service may be starting")
    def _(client=CLIENTS[_library]) -> Any:
        return client(refusing())


SLOW = {
    "google-api-python-client": "TimeoutError",
    "geopy": "GeocoderTimedOut",
    "python-telegram-bot": "TimedOut",
    "ollama": "ReadTimeout",
    "meilisearch": "MeilisearchTimeoutError",
    "pysolr": "SolrError",
}
for _library, _error in SLOW.items():

    @case(_library, _error, "no answer", LATE, "the next call may be answered")
    def _(client=CLIENTS[_library]) -> Any:
        with web(WEB["no answer"]) as url:
            return client(url)


for _status, _detail, _wanted, _reason in (
    (429, "Request was throttled.", THROTTLED, "asks for fewer calls"),
    (401, "Unauthenticated", PERMANENT, "the key is wrong"),
    (503, "Service unavailable", TRANSIENT, "unavailable for now"),
):

    @case("replicate", "ReplicateError", f"{_status} {_detail}", _wanted, _reason, built=True)
    def _(status=_status, detail=_detail) -> Any:
        import httpx
        from replicate.exceptions import ReplicateError

        return ReplicateError.from_response(httpx.Response(status, json={"status": status, "detail": detail}))
