# ruff: noqa: E501 -- one case, one line
"""Clients of web services (payments, chat, issue trackers, clusters) and the answers that these services give."""

from collections.abc import Callable
from typing import Any

from .corpus import PERMANENT, THROTTLED, TIMEOUT, TRANSIENT, case
from .servers import WEB, answering, refusing, web


def by_stripe(url: str) -> Any:
    import stripe

    http = stripe.RequestsClient(timeout=0.3)
    client = stripe.StripeClient("sk_test_1", base_addresses={"api": url}, max_network_retries=0, http_client=http)
    return client.v1.customers.retrieve("cus_1")


def by_twilio(url: str) -> Any:
    from twilio.http.http_client import TwilioHttpClient
    from twilio.rest import Client

    class Local(TwilioHttpClient):
        def request(self, method: str, _uri: str, *args: Any, **options: Any) -> Any:
            return super().request(method, url, *args, **options)

    return Client("AC1", "token", http_client=Local(timeout=0.3)).messages.create(to="1", from_="2", body="hi")


def by_sendgrid(url: str) -> Any:
    import sendgrid

    client = sendgrid.SendGridAPIClient("key", host=url)
    client.client.timeout = 0.3
    return client.client.mail.send.post(request_body={})


def by_slack(url: str) -> Any:
    from slack_sdk import WebClient

    return WebClient("xoxb-1", base_url=f"{url}/", timeout=1, retry_handlers=[]).chat_postMessage(
        channel="C", text="hi"
    )


def by_github(url: str) -> Any:
    import github

    return github.Github(base_url=url, timeout=1, retry=None, seconds_between_requests=0).get_repo("a/b")


def by_gitlab(url: str) -> Any:
    import gitlab

    return gitlab.Gitlab(url, private_token="t", timeout=0.3).projects.get(1)


def by_jira(url: str) -> Any:
    import jira

    options = {"server": url, "max_retries": 0, "timeout": 0.3}
    return jira.JIRA(**options, get_server_info=False, token_auth="t").issue("A-1")


def by_tweepy(url: str) -> Any:
    import requests
    import tweepy

    class Local(requests.Session):
        def request(self, method: str, _url: str, **options: Any) -> Any:
            return super().request(method, url, timeout=0.3, headers=options.get("headers"))

    client = tweepy.Client("token")
    client.session = Local()
    return client.get_user(username="a")


def by_notion(url: str) -> Any:
    import notion_client

    return notion_client.Client(auth="t", base_url=url, timeout_ms=300).users.me()


def by_kubernetes(url: str) -> Any:
    from kubernetes import client

    settings = client.Configuration(host=url)
    settings.retries = 0
    return client.CoreV1Api(client.ApiClient(settings)).list_namespace(_request_timeout=0.3)


def by_docker(url: str) -> Any:
    import docker

    return docker.DockerClient(url.replace("http", "tcp"), version="1.44", timeout=1).containers.get("a")


def by_vault(url: str) -> Any:
    import hvac

    return hvac.Client(url, token="t", timeout=0.3).secrets.kv.v2.read_secret_version(
        "a", raise_on_deleted_version=True
    )


def by_salesforce(url: str) -> Any:
    from simple_salesforce import Salesforce

    client = Salesforce(instance_url=url, session_id="s")
    client.base_url = f"{url}/"
    return client.query("SELECT Id FROM Account")


def by_mlflow(url: str) -> Any:
    import os

    os.environ |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}
    from mlflow.tracking import MlflowClient

    return MlflowClient(url).get_run("1")


def by_prefect(url: str) -> Any:
    import os

    os.environ |= {"PREFECT_CLIENT_MAX_RETRIES": "0", "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false"}
    os.environ |= {"PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false", "PREFECT_API_REQUEST_TIMEOUT": "0.3"}
    from prefect.client.orchestration import SyncPrefectClient

    with SyncPrefectClient(api=f"{url}/api") as client:
        return client.read_flows()


def by_databricks(url: str) -> Any:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.config import Config

    config = Config(host=url, token="t", retry_timeout_seconds=1, http_timeout_seconds=1)
    return WorkspaceClient(config=config).clusters.get("1")


def by_qdrant(url: str) -> Any:
    from qdrant_client import QdrantClient

    return QdrantClient(url=url, timeout=1, check_compatibility=False).get_collection("a")


CLIENTS: dict[str, Callable[[str], Any]] = {
    "stripe": by_stripe,
    "twilio": by_twilio,
    "sendgrid": by_sendgrid,
    "slack_sdk": by_slack,
    "PyGithub": by_github,
    "python-gitlab": by_gitlab,
    "jira": by_jira,
    "tweepy": by_tweepy,
    "notion-client": by_notion,
    "kubernetes": by_kubernetes,
    "docker": by_docker,
    "hvac": by_vault,
    "simple-salesforce": by_salesforce,
    "mlflow-skinny": by_mlflow,
    "prefect": by_prefect,
    "databricks-sdk": by_databricks,
    "qdrant-client": by_qdrant,
}

_NO_CALLS = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1893456000"}
_K8S = {"kind": "Status", "status": "Failure"}
ANSWERS: tuple[tuple[str, str, int, Any, dict[str, str], Any, str], ...] = (
    ("stripe", "RateLimitError", 429, {"error": {"type": "invalid_request_error", "code": "rate_limit"}}, {}, THROTTLED, "asks for fewer calls"),
    ("stripe", "CardError", 402, {"error": {"type": "card_error", "code": "card_declined", "message": "no"}}, {}, PERMANENT, "the card is refused"),
    ("stripe", "APIError", 500, {"error": {"type": "api_error"}}, {}, TRANSIENT, "a fault of the service"),
    ("stripe", "InvalidRequestError", 400, {"error": {"type": "invalid_request_error", "message": "no"}}, {}, PERMANENT, "the caller's mistake"),
    ("stripe", "IdempotencyError", 400, {"error": {"type": "idempotency_error", "message": "no"}}, {}, PERMANENT, "the key was used for another call"),
    ("stripe", "AuthenticationError", 401, {"error": {"type": "invalid_request_error", "message": "no"}}, {}, PERMANENT, "the key is wrong"),
    ("twilio", "TwilioRestException", 429, {"code": 20429, "message": "Too Many Requests"}, {}, THROTTLED, "asks for fewer calls"),
    ("twilio", "TwilioRestException", 400, {"code": 21211, "message": "Invalid 'To' Phone Number"}, {}, PERMANENT, "the caller's mistake"),
    ("twilio", "TwilioRestException", 503, {"code": 20503, "message": "Service unavailable"}, {}, TRANSIENT, "unavailable for now"),
    ("sendgrid", "TooManyRequestsError", 429, {"errors": []}, {}, THROTTLED, "asks for fewer calls"),
    ("sendgrid", "ServiceUnavailableError", 503, {"errors": []}, {}, TRANSIENT, "unavailable for now"),
    ("sendgrid", "UnauthorizedError", 401, {"errors": []}, {}, PERMANENT, "the key is wrong"),
    ("slack_sdk", "SlackApiError", 200, {"ok": False, "error": "ratelimited"}, {}, THROTTLED, "a limit, in spite of the 200"),
    ("slack_sdk", "SlackApiError", 200, {"ok": False, "error": "internal_error"}, {}, TRANSIENT, "a fault of the service, in spite of the 200"),
    ("slack_sdk", "SlackApiError", 200, {"ok": False, "error": "service_unavailable"}, {}, TRANSIENT, "unavailable for now, in spite of the 200"),
    ("slack_sdk", "SlackApiError", 200, {"ok": False, "error": "channel_not_found"}, {}, PERMANENT, "it does not appear by itself"),
    ("slack_sdk", "SlackApiError", 200, {"ok": False, "error": "invalid_auth"}, {}, PERMANENT, "the token is wrong"),
    ("slack_sdk", "SlackApiError", 429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "3"}, THROTTLED, "asks for fewer calls"),
    ("PyGithub", "RateLimitExceededException", 403, {"message": "API rate limit exceeded for user ID 1."}, _NO_CALLS, THROTTLED, "a 403 that is a limit"),
    ("PyGithub", "RateLimitExceededException", 403, {"message": "You have exceeded a secondary rate limit."}, {"Retry-After": "60"}, THROTTLED, "a 403 that is a limit"),
    ("PyGithub", "GithubException", 403, {"message": "Resource not accessible by integration"}, {}, PERMANENT, "the right is missing"),
    ("PyGithub", "GithubException", 502, {"message": "Server Error"}, {}, TRANSIENT, "the gateway lost its backend"),
    ("PyGithub", "UnknownObjectException", 404, {"message": "Not Found"}, {}, PERMANENT, "it does not appear by itself"),
    ("PyGithub", "BadCredentialsException", 401, {"message": "Bad credentials"}, {}, PERMANENT, "the token is wrong"),
    ("python-gitlab", "GitlabGetError", 404, {"message": "404 Project Not Found"}, {}, PERMANENT, "it does not appear by itself"),
    ("python-gitlab", "GitlabGetError", 502, {"message": "bad gateway"}, {}, TRANSIENT, "the gateway lost its backend"),
    ("python-gitlab", "GitlabAuthenticationError", 401, {"message": "401 Unauthorized"}, {}, PERMANENT, "the token is wrong"),
    ("jira", "JIRAError", 503, "<html>down</html>", {}, TRANSIENT, "unavailable for now"),
    ("jira", "JIRAError", 404, {"errorMessages": ["Issue Does Not Exist"]}, {}, PERMANENT, "it does not appear by itself"),
    ("tweepy", "TooManyRequests", 429, {"title": "Too Many Requests"}, {}, THROTTLED, "asks for fewer calls"),
    ("tweepy", "TwitterServerError", 503, {"title": "Service Unavailable"}, {}, TRANSIENT, "unavailable for now"),
    ("tweepy", "Forbidden", 403, {"title": "Forbidden"}, {}, PERMANENT, "the right is missing"),
    ("notion-client", "APIResponseError", 429, {"code": "rate_limited", "message": "no"}, {"Retry-After": "1"}, THROTTLED, "asks for fewer calls"),
    ("notion-client", "APIResponseError", 409, {"code": "conflict_error", "message": "Conflict occurred while saving. Please try again."}, {}, TRANSIENT, "the service asks to try again"),
    ("notion-client", "APIResponseError", 400, {"code": "validation_error", "message": "no"}, {}, PERMANENT, "the caller's mistake"),
    ("notion-client", "UnknownHTTPResponseError", 502, "<html/>", {}, TRANSIENT, "the gateway lost its backend"),
    ("kubernetes", "ServiceException", 503, _K8S, {}, TRANSIENT, "unavailable for now"),
    ("kubernetes", "ApiException", 429, _K8S, {"Retry-After": "1"}, THROTTLED, "asks for fewer calls"),
    ("kubernetes", "ConflictException", 409, _K8S, {}, PERMANENT, "the object is another by now: it has to be read again"),
    ("kubernetes", "ForbiddenException", 403, _K8S, {}, PERMANENT, "the right is missing"),
    ("kubernetes", "UnprocessableEntityException", 422, _K8S, {}, PERMANENT, "the object breaks its schema"),
    ("docker", "NotFound", 404, {"message": "No such container: a"}, {}, PERMANENT, "it does not appear by itself"),
    ("docker", "APIError", 503, {"message": "daemon is shutting down"}, {}, TRANSIENT, "it starts again"),
    ("hvac", "VaultDown", 503, {"errors": ["Vault is sealed"]}, {}, TRANSIENT, "vaults are unsealed again"),
    ("hvac", "RateLimitExceeded", 429, {"errors": ["request path is over its limit"]}, {}, THROTTLED, "asks for fewer calls"),
    ("hvac", "Forbidden", 403, {"errors": ["permission denied"]}, {}, PERMANENT, "the right is missing"),
    ("hvac", "BadGateway", 502, {"errors": []}, {}, TRANSIENT, "the gateway lost its backend"),
    ("simple-salesforce", "SalesforceGeneralError", 503, [{"errorCode": "SERVER_UNAVAILABLE"}], {}, TRANSIENT, "unavailable for now"),
    ("simple-salesforce", "SalesforceRefusedRequest", 403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED"}], {}, THROTTLED, "a 403 that is a limit"),
    ("simple-salesforce", "SalesforceMalformedRequest", 400, [{"errorCode": "UNABLE_TO_LOCK_ROW"}], {}, TRANSIENT, "the lock comes free"),
    ("simple-salesforce", "SalesforceExpiredSession", 401, [{"errorCode": "INVALID_SESSION_ID"}], {}, PERMANENT, "it stays expired"),
    ("simple-salesforce", "SalesforceMalformedRequest", 400, [{"errorCode": "MALFORMED_QUERY"}], {}, PERMANENT, "the caller's mistake"),
    ("mlflow-skinny", "RestException", 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}, {}, PERMANENT, "it does not appear by itself"),
    ("mlflow-skinny", "MlflowException", 503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "no"}, {}, TRANSIENT, "it says so"),
    ("mlflow-skinny", "MlflowException", 429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "no"}, {}, THROTTLED, "asks for fewer calls"),
    ("prefect", "PrefectHTTPStatusError", 503, {"detail": "no"}, {}, TRANSIENT, "unavailable for now"),
    ("prefect", "PrefectHTTPStatusError", 422, {"detail": "no"}, {}, PERMANENT, "the caller's mistake"),
    ("databricks-sdk", "PermissionDenied", 403, {"error_code": "PERMISSION_DENIED", "message": "no"}, {}, PERMANENT, "the right is missing"),
    ("databricks-sdk", "ResourceDoesNotExist", 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}, {}, PERMANENT, "it does not appear by itself"),
    ("qdrant-client", "UnexpectedResponse", 503, {"status": {"error": "no"}}, {}, TRANSIENT, "unavailable for now"),
    ("qdrant-client", "ResourceExhaustedResponse", 429, {"status": {"error": "no"}}, {"Retry-After": "2"}, THROTTLED, "asks for fewer calls"),
    ("qdrant-client", "UnexpectedResponse", 404, {"status": {"error": "no"}}, {}, PERMANENT, "it does not appear by itself"),
)  # fmt: skip
for _library, _error, _status, _body, _headers, _wanted, _reason in ANSWERS:
    _words = str(_body)[:60] + "".join(f", {name}: {value}" for name, value in _headers.items())

    @case(_library, _error, f"{_status} {_words}", _wanted, _reason)
    def _(client=CLIENTS[_library], status=_status, body=_body, headers=_headers) -> Any:
        with answering(status, body, headers) as url:
            return client(url)


REFUSALS = {
    "stripe": "APIConnectionError",
    "twilio": "ConnectionError",
    "sendgrid": "URLError",
    "slack_sdk": "URLError",
    "PyGithub": "ConnectionError",
    "notion-client": "ConnectError",
    "kubernetes": "MaxRetryError",
    "docker": "ConnectionError",
    "hvac": "ConnectionError",
    "mlflow-skinny": "MlflowException",
    "prefect": "ConnectError",
    "qdrant-client": "ResponseHandlingException",
}
for _library, _error in REFUSALS.items():

    @case(_library, _error, "refused", TRANSIENT, "the service may be starting")
    def _(client=CLIENTS[_library]) -> Any:
        return client(refusing())


LATE_ONES = {
    "stripe": "APIConnectionError",
    "twilio": "ReadTimeout",
    "slack_sdk": "TimeoutError",
    "jira": "ReadTimeout",
    "notion-client": "RequestTimeoutError",
    "kubernetes": "MaxRetryError",
    "docker": "ReadTimeout",
    "qdrant-client": "ResponseHandlingException",
}
for _library, _error in LATE_ONES.items():

    @case(_library, _error, "no answer", frozenset({TIMEOUT, TRANSIENT}), "the next call may be answered")
    def _(client=CLIENTS[_library]) -> Any:
        with web(WEB["no answer"]) as url:
            return client(url)


@case("slack_sdk", "SlackObjectFormationError", "a block without text", PERMANENT, "the caller's mistake")
def _() -> Any:
    from slack_sdk.models.blocks import SectionBlock

    return SectionBlock().to_dict()


@case("kubernetes", "ConfigException", "no configuration", PERMANENT, "it does not appear by itself")
def _() -> Any:
    from kubernetes import config

    return config.load_kube_config("/no/such/file")


@case("docker", "DockerException", "an address that is none", PERMANENT, "the caller's mistake")
def _() -> Any:
    import docker

    return docker.DockerClient("gopher://x", version="1.44")


@case("PyGithub", "AssertionError", "a name that is a number", PERMANENT, "the caller's mistake")
def _() -> Any:
    import github

    return github.Github().get_repo(1.5)
