"""One write by each of many clients, with the client's own settings, or with those for a single attempt."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ASKED = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Client:
    """A client, and one write by it.

    Attributes:
        name: as a reader knows it.
        distribution: as the package index knows it.
        method: what is called.
        single: the setting for a single attempt; empty where that is the default.
        write: makes the write; it takes the URL of a server, and `once` if there is such a setting.
    """

    name: str
    distribution: str
    method: str
    single: str
    write: Callable[..., Any]


CLIENTS: dict[str, Client] = {}


def client(name: str, distribution: str, method: str, single: str = "") -> Callable[[Any], Any]:
    """Enter the function into `CLIENTS`."""

    def enter(write: Callable[..., Any]) -> Callable[..., Any]:
        CLIENTS[name] = Client(name, distribution, method, single, write)
        return write

    return enter


@client("requests", "requests", "post")
def by_requests(url: str) -> Any:
    import requests

    requests.post(url, json={"order": 1}, timeout=20).raise_for_status()


@client("httpx", "httpx", "post")
def by_httpx(url: str) -> Any:
    import httpx

    httpx.post(url, json={"order": 1}, timeout=20).raise_for_status()


@client("urllib3", "urllib3", "request")
def by_urllib3(url: str) -> Any:
    import urllib3

    urllib3.PoolManager().request("POST", url, json={"order": 1})


async def with_aiohttp(method: str, url: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.request(method, url, json={"order": 1}) as response:
        response.raise_for_status()


@client("aiohttp", "aiohttp", "post")
def by_aiohttp(url: str) -> Any:
    asyncio.run(with_aiohttp("POST", url))


@client("aiohttp (PUT)", "aiohttp", "put")
def by_aiohttp_put(url: str) -> Any:
    asyncio.run(with_aiohttp("PUT", url))


def aws(service: str, url: str, *, once: bool) -> Any:
    import boto3
    from botocore.config import Config

    options = {"config": Config(retries={"total_max_attempts": 1})} if once else {}
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-west-1"}
    return boto3.client(service, endpoint_url=url, **options, **keys)


@client("boto3 (S3)", "boto3", "put_object", '`Config(retries={"total_max_attempts": 1})`')
def by_s3(url: str, *, once: bool) -> Any:
    aws("s3", url, once=once).put_object(Bucket="flights", Key="2013.csv", Body=b"data")


@client("boto3 (DynamoDB)", "boto3", "put_item", '`Config(retries={"total_max_attempts": 1})`')
def by_dynamodb(url: str, *, once: bool) -> Any:
    aws("dynamodb", url, once=once).put_item(TableName="orders", Item={"id": {"S": "1"}})


@client("boto3 (SQS)", "boto3", "send_message", '`Config(retries={"total_max_attempts": 1})`')
def by_sqs(url: str, *, once: bool) -> Any:
    aws("sqs", url, once=once).send_message(QueueUrl=f"{url}/1/orders", MessageBody="order 1")


@client("s3fs", "s3fs", "pipe_file", '`retries=1`, `config_kwargs={"retries": {"total_max_attempts": 1}}`')
def by_s3fs(url: str, *, once: bool) -> Any:
    import s3fs

    options: Any = {"config_kwargs": {"retries": {"total_max_attempts": 1}}} if once else {}
    files = s3fs.S3FileSystem(key="a", secret="b", endpoint_url=url, skip_instance_cache=True, **options)
    if once:
        files.retries = 1
    files.pipe_file("flights/2013.csv", b"data")


@client("minio", "minio", "put_object", "`http_client=PoolManager(retries=Retry(0))`")
def by_minio(url: str, *, once: bool) -> Any:
    import io

    import minio
    import urllib3

    options: Any = {"http_client": urllib3.PoolManager(retries=urllib3.Retry(0))} if once else {}
    client = minio.Minio(url.partition("//")[2], "a", "b", secure=False, region="eu", **options)
    client.put_object("flights", "2013.csv", io.BytesIO(b"data"), 4)


@client("azure-storage-blob", "azure-storage-blob", "upload_blob", "`retry_total=0`")
def by_blob(url: str, *, once: bool) -> Any:
    from azure.storage.blob import BlobClient

    key = {"account_name": "flights", "account_key": "YWJj"}
    options: Any = {"retry_total": 0} if once else {}
    BlobClient(f"{url}/flights", "data", "2013.csv", credential=key, **options).upload_blob(b"data")


@client("google-cloud-storage", "google-cloud-storage", "upload_from_string", "`retry=None`")
def by_gcs(url: str, *, once: bool) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})
    options: Any = {"retry": None} if once else {}
    client.bucket("flights").blob("2013.csv").upload_from_string("data", **options)


@client("slack_sdk", "slack_sdk", "chat_postMessage", "`retry_handlers=[]`")
def by_slack(url: str, *, once: bool) -> Any:
    from slack_sdk import WebClient

    options: Any = {"retry_handlers": []} if once else {}
    WebClient("xoxb-1", base_url=f"{url}/", **options).chat_postMessage(channel="C", text="hi")


@client("openai", "openai", "completions.create", "`max_retries=0`")
def by_openai(url: str, *, once: bool) -> Any:
    import openai

    options: Any = {"max_retries": 0} if once else {}
    openai.OpenAI(api_key="k", base_url=url, **options).chat.completions.create(model="m", messages=ASKED)


@client("anthropic", "anthropic", "messages.create", "`max_retries=0`")
def by_anthropic(url: str, *, once: bool) -> Any:
    import anthropic

    options: Any = {"max_retries": 0} if once else {}
    anthropic.Anthropic(api_key="k", base_url=url, **options).messages.create(model="m", messages=ASKED, max_tokens=9)


@client("groq", "groq", "completions.create", "`max_retries=0`")
def by_groq(url: str, *, once: bool) -> Any:
    import groq

    options: Any = {"max_retries": 0} if once else {}
    groq.Groq(api_key="k", base_url=url, **options).chat.completions.create(model="m", messages=ASKED)


@client("mistralai", "mistralai", "chat.complete")
def by_mistral(url: str) -> Any:
    from mistralai.client import Mistral

    Mistral(api_key="k", server_url=url).chat.complete(model="m", messages=ASKED)


@client("cohere", "cohere", "chat", '`request_options={"max_retries": 0}`')
def by_cohere(url: str, *, once: bool) -> Any:
    import cohere

    options: Any = {"request_options": {"max_retries": 0}} if once else {}
    cohere.ClientV2("k", base_url=url).chat(model="m", messages=ASKED, **options)


@client("huggingface_hub", "huggingface_hub", "create_repo")
def by_hub(url: str) -> Any:
    from huggingface_hub import HfApi

    HfApi(endpoint=url, token="t").create_repo("flights/model")


@client("replicate", "replicate", "predictions.create")
def by_replicate(url: str) -> Any:
    import replicate

    replicate.Client("t", base_url=url).predictions.create("v", input={})


@client("MLflow", "mlflow-skinny", "create_run", "`MLFLOW_HTTP_REQUEST_MAX_RETRIES=0`")
def by_mlflow(url: str, *, once: bool) -> Any:
    if once:
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    from mlflow.tracking import MlflowClient

    MlflowClient(url).create_run("0")


@client("Prefect's client", "prefect", "create_flow_run_from_deployment", "`PREFECT_CLIENT_MAX_RETRIES=0`")
def by_prefect(url: str, *, once: bool) -> Any:
    os.environ |= {"PREFECT_API_URL": url, "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false"}
    if once:
        os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "0"
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        client.create_flow_run_from_deployment("6b1c9f5e-7a7b-4d3c-9a51-0d3f6a1e2b3c")


@client("databricks-sdk", "databricks-sdk", "jobs.run_now", "`Config(retry_timeout_seconds=1)`")
def by_databricks(url: str, *, once: bool) -> Any:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.config import Config

    options: Any = {"retry_timeout_seconds": 1} if once else {}
    WorkspaceClient(config=Config(host=url, token="t", **options)).jobs.run_now(1)


@client("stripe", "stripe", "customers.create")
def by_stripe(url: str) -> Any:
    import stripe

    stripe.StripeClient("sk_test_1", base_addresses={"api": url}).v1.customers.create({"name": "a"})


@client("twilio", "twilio", "messages.create")
def by_twilio(url: str) -> Any:
    from twilio.http.http_client import TwilioHttpClient
    from twilio.rest import Client

    class Local(TwilioHttpClient):
        def request(self, method: str, _uri: str, *args: Any, **options: Any) -> Any:
            return super().request(method, url, *args, **options)

    Client("AC1", "token", http_client=Local()).messages.create(to="1", from_="2", body="hi")


@client("PyGithub", "PyGithub", "create_issue", "`Github(retry=None)`")
def by_github(url: str, *, once: bool) -> Any:
    import github

    options: Any = {"retry": None} if once else {}
    github.Github(base_url=url, **options).get_repo("a/b", lazy=True).create_issue("a title")


@client("python-gitlab", "python-gitlab", "issues.create")
def by_gitlab(url: str) -> Any:
    import gitlab

    gitlab.Gitlab(url, private_token="t").projects.get(1, lazy=True).issues.create({"title": "a title"})


@client("jira", "jira", "add_comment", "`max_retries=0`")
def by_jira(url: str, *, once: bool) -> Any:
    import jira

    options: Any = {"max_retries": 0} if once else {}
    jira.JIRA(server=url, get_server_info=False, token_auth="t", **options).add_comment("A-1", "a comment")


@client("notion-client", "notion-client", "pages.create")
def by_notion(url: str) -> Any:
    import notion_client

    notion_client.Client(auth="t", base_url=url).pages.create(parent={"page_id": "p"}, properties={})


@client("pyairtable", "pyairtable", "create", "`retry_strategy=None`")
def by_airtable(url: str, *, once: bool) -> Any:
    import pyairtable

    options: Any = {"retry_strategy": None} if once else {}
    pyairtable.Api("k", endpoint_url=url, **options).table("a", "b").create({"name": "a"})


@client("spotipy", "spotipy", "user_playlist_create", "`retries=0, status_retries=0`")
def by_spotipy(url: str, *, once: bool) -> Any:
    import spotipy

    options: Any = {"retries": 0, "status_retries": 0} if once else {}
    client = spotipy.Spotify(auth="t", **options)
    client.prefix = f"{url}/"
    client.user_playlist_create("a", "b")


@client("kubernetes", "kubernetes", "create_namespaced_config_map")
def by_kubernetes(url: str) -> Any:
    from kubernetes import client

    api = client.ApiClient(client.Configuration(host=url))
    client.CoreV1Api(api).create_namespaced_config_map("default", {"data": {}})


@client("hvac", "hvac", "create_or_update_secret")
def by_vault(url: str) -> Any:
    import hvac

    hvac.Client(url, token="t").secrets.kv.v2.create_or_update_secret("a", {"b": "c"})


@client("elasticsearch", "elasticsearch", "index", "`max_retries=0`")
def by_elastic(url: str, *, once: bool) -> Any:
    from elasticsearch import Elasticsearch

    options: Any = {"max_retries": 0} if once else {}
    Elasticsearch(url, **options).index(index="orders", document={"order": 1})


@client("opensearch-py", "opensearch-py", "index", "`max_retries=0`")
def by_opensearch(url: str, *, once: bool) -> Any:
    from opensearchpy import OpenSearch

    options: Any = {"max_retries": 0} if once else {}
    OpenSearch(url, **options).index(index="orders", body={"order": 1})


@client("qdrant-client", "qdrant-client", "upsert")
def by_qdrant(url: str) -> Any:
    from qdrant_client import QdrantClient
    from qdrant_client.models import PointStruct

    client = QdrantClient(url=url, check_compatibility=False)
    client.upsert("a", [PointStruct(id=1, vector=[0.5])])


@client("typesense", "typesense", "documents.create", '`"num_retries": 0`')
def by_typesense(url: str, *, once: bool) -> Any:
    import typesense

    host, _, port = url.partition("//")[2].partition(":")
    options: Any = {"num_retries": 0} if once else {}
    node = {"host": host, "port": port, "protocol": "http"}
    typesense.Client({"nodes": [node], "api_key": "k", **options}).collections["a"].documents.create({"id": "1"})


@client("influxdb-client", "influxdb-client", "write")
def by_influx(url: str) -> Any:
    from influxdb_client import InfluxDBClient
    from influxdb_client.client.write_api import SYNCHRONOUS

    client = InfluxDBClient(url, token="t", org="o")
    client.write_api(write_options=SYNCHRONOUS).write("b", "o", "delay,carrier=UA minutes=3")


@client("postgrest", "postgrest", "insert")
def by_postgrest(url: str) -> Any:
    from postgrest import SyncPostgrestClient

    SyncPostgrestClient(url).from_("orders").insert({"order": 1}).execute()


@client("redis", "redis", "incr", "`retry=Retry(NoBackoff(), 0)`")
def by_redis(url: str, *, once: bool) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: Any = {"retry": Retry(NoBackoff(), 0)} if once else {}
    host, _, port = url.partition("//")[2].partition(":")
    redis.Redis(host, int(port), protocol=2, lib_name=None, lib_version=None, **options).incr("orders")
