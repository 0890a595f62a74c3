"""Clouds: AWS, Azure and Google, whose clients connect to a server with their services' responses."""

from typing import Any

from .corpus import BUSY, LATE, PERMANENT, THROTTLED, TIMEOUT, TRANSIENT, case
from .servers import UNRESOLVABLE, WEB, answering, refusing, web

# AWS


def aws(service: str, url: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=0.3, read_timeout=0.3, retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-west-1"}
    return boto3.client(service, endpoint_url=url, config=config, **keys)


def by_s3(url: str) -> Any:
    return aws("s3", url).get_object(Bucket="flights", Key="2013.csv")


def by_dynamodb(url: str) -> Any:
    return aws("dynamodb", url).get_item(TableName="flights", Key={"id": {"S": "1"}})


def by_sts(url: str) -> Any:
    return aws("sts", url).get_caller_identity()


S3 = (
    (503, "SlowDown", "ClientError", THROTTLED, "asks for fewer calls"),
    (500, "InternalError", "ClientError", TRANSIENT, "a fault of the service"),
    (400, "RequestTimeout", "ClientError", LATE, "the service waited for the body; AWS's own clients retry it"),
    (503, "ServiceUnavailable", "ClientError", TRANSIENT, "unavailable for now"),
    (400, "ExpiredToken", "ClientError", PERMANENT, "it stays expired"),
    (403, "AccessDenied", "AccessDenied", PERMANENT, "the right is missing"),
    (404, "NoSuchKey", "NoSuchKey", PERMANENT, "it does not appear by itself"),
    (403, "RequestTimeTooSkewed", "ClientError", PERMANENT, "this machine's clock is wrong"),
    (409, "OperationAborted", "ClientError", TRANSIENT, "another operation is under way; AWS asks to try again"),
)
for _status, _code, _error, _wanted, _reason in S3:

    @case("botocore", _error, f"S3: {_status} {_code}", _wanted, _reason)
    def _(status=_status, code=_code) -> Any:
        with answering(status, f"<Error><Code>{code}</Code><Message>said so</Message></Error>") as url:
            return by_s3(url)


DYNAMO = (
    (
        "ProvisionedThroughputExceededException",
        "ProvisionedThroughputExceededException",
        THROTTLED,
        "asks for fewer calls",
    ),
    ("ThrottlingException", "ThrottlingException", THROTTLED, "asks for fewer calls"),
    ("RequestLimitExceeded", "RequestLimitExceeded", THROTTLED, "asks for fewer calls"),
    ("TransactionInProgressException", "TransactionInProgressException", BUSY, "the same request is under way"),
    ("ValidationException", "ClientError", PERMANENT, "the caller's mistake"),
    ("ResourceNotFoundException", "ResourceNotFoundException", PERMANENT, "it does not appear by itself"),
    ("ConditionalCheckFailedException", "ConditionalCheckFailedException", PERMANENT, "the row is another by now"),
    ("UnrecognizedClientException", "ClientError", PERMANENT, "the key is not known"),
)
for _code, _error, _wanted, _reason in DYNAMO:

    @case("botocore", _error, f"DynamoDB: 400 {_code}", _wanted, _reason)
    def _(code=_code) -> Any:
        with answering(400, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "said so"}) as url:
            return by_dynamodb(url)


BOTO_CODES = (
    ("Lambda", 429, "TooManyRequestsException", THROTTLED, "asks for fewer calls"),
    ("EC2", 503, "EC2ThrottledException", THROTTLED, "asks for fewer calls"),
    ("EC2", 400, "BandwidthLimitExceeded", THROTTLED, "botocore's own list of throttling codes"),
    ("STS", 400, "PriorRequestNotComplete", BUSY, "botocore's own list of throttling codes"),
    ("STS", 400, "IDPCommunicationError", TRANSIENT, "botocore's own list of transient codes"),
    ("Batch", 400, "InvalidParameterValue", PERMANENT, "the caller's mistake"),
)
for _service, _status, _code, _wanted, _reason in BOTO_CODES:

    @case("botocore", "ClientError", f"{_service}: {_status} {_code}", _wanted, _reason, built=True)
    def _(status=_status, code=_code) -> Any:
        from botocore.exceptions import ClientError

        answer = {"Error": {"Code": code, "Message": "said so"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return ClientError(answer, "Call")


@case("botocore", "EndpointConnectionError", "refused", TRANSIENT, "the service may be starting")
def _() -> Any:
    return by_s3(refusing())


@case("botocore", "EndpointConnectionError", "unresolvable name", TRANSIENT, "name servers fail for a while")
def _() -> Any:
    return by_sts(f"http://{UNRESOLVABLE}")


@case("botocore", "ReadTimeoutError", "no answer", TIMEOUT, "the next call may be answered")
def _() -> Any:
    with web(WEB["no answer"]) as url:
        return by_s3(url)


@case("botocore", "ConnectionClosedError", "hang-up", TRANSIENT, "the server closed before it answered")
def _() -> Any:
    with web(WEB["hang-up"]) as url:
        return by_s3(url)


@case("botocore", "ResponseStreamingError", "reset in mid-body", TRANSIENT, "a broken connection")
def _() -> Any:
    with web(WEB["reset in mid-body"]) as url:
        return by_s3(url)["Body"].read()


@case("botocore", "ParamValidationError", "a number where a text belongs", PERMANENT, "the caller's mistake")
def _() -> Any:
    return aws("dynamodb", refusing()).get_item(TableName="a", Key=1)


@case("botocore", "NoCredentialsError", "no key at all", PERMANENT, "it does not appear by itself", built=True)
def _() -> Any:
    from botocore.exceptions import NoCredentialsError

    return NoCredentialsError()


@case("botocore", "NoRegionError", "no region", PERMANENT, "the configuration lacks it")
def _() -> Any:
    import botocore.session

    return botocore.session.Session().create_client("ec2", region_name=None)


def by_s3fs(url: str) -> Any:
    import s3fs

    config = {"connect_timeout": 0.3, "read_timeout": 0.3, "retries": {"total_max_attempts": 1}}
    files = s3fs.S3FileSystem(key="a", secret="b", endpoint_url=url, config_kwargs=config, skip_instance_cache=True)
    files.retries = 1
    return files.cat_file("flights/2013.csv")


S3FS = (
    (503, "SlowDown", "OSError", BUSY, "asks for fewer calls"),
    (403, "AccessDenied", "PermissionError", PERMANENT, "the right is missing"),
    (404, "NoSuchKey", "FileNotFoundError", PERMANENT, "it does not appear by itself"),
)
for _status, _code, _error, _wanted, _reason in S3FS:

    @case("s3fs", _error, f"{_status} {_code}", _wanted, _reason)
    def _(status=_status, code=_code) -> Any:
        with answering(status, f"<Error><Code>{code}</Code><Message>said so</Message></Error>") as url:
            return by_s3fs(url)


@case("s3fs", "EndpointConnectionError", "refused", TRANSIENT, "the service may be starting")
def _() -> Any:
    return by_s3fs(refusing())


def by_minio(url: str) -> Any:
    import minio
    import urllib3

    pool = urllib3.PoolManager(timeout=0.3, retries=urllib3.Retry(0))
    client = minio.Minio(
        url.partition("//")[2], "a", "b", secure=url.startswith("https"), region="eu", http_client=pool
    )
    return client.get_object("flights", "2013.csv")


for _status, _code, _error, _wanted, _reason in (
    (503, "SlowDown", "S3Error", THROTTLED, "asks for fewer calls"),
    (500, "InternalError", "S3Error", TRANSIENT, "a fault of the service"),
    (404, "NoSuchKey", "S3Error", PERMANENT, "it does not appear by itself"),
    (403, "SignatureDoesNotMatch", "S3Error", PERMANENT, "the key is wrong"),
):

    @case("minio", _error, f"{_status} {_code}", _wanted, _reason)
    def _(status=_status, code=_code) -> Any:
        with answering(status, f"<Error><Code>{code}</Code><Message>said so</Message></Error>") as url:
            return by_minio(url)


@case("minio", "MaxRetryError", "refused", TRANSIENT, "the service may be starting")
def _() -> Any:
    return by_minio(refusing())


# Azure


def by_blob(url: str) -> Any:
    from azure.storage.blob import BlobClient

    key = {"account_name": "flights", "account_key": "YWJj"}
    limits = {"retry_total": 0, "connection_timeout": 0.3, "read_timeout": 0.3}
    blob = BlobClient(f"{url}/flights", "data", "2013.csv", credential=key, **limits)
    return blob.download_blob().readall()


AZURE = (
    (503, "ServerBusy", "HttpResponseError", BUSY, "asks for fewer calls"),
    (500, "OperationTimedOut", "HttpResponseError", LATE, "it may be quicker next time"),
    (429, "TooManyRequests", "HttpResponseError", THROTTLED, "asks for fewer calls"),
    (404, "BlobNotFound", "ResourceNotFoundError", PERMANENT, "it does not appear by itself"),
    (403, "AuthenticationFailed", "ClientAuthenticationError", PERMANENT, "the key is wrong"),
    (409, "BlobAlreadyExists", "ResourceExistsError", PERMANENT, "it is there"),
    (400, "InvalidHeaderValue", "HttpResponseError", PERMANENT, "the caller's mistake"),
)
for _status, _code, _error, _wanted, _reason in AZURE:

    @case("azure-storage-blob", _error, f"{_status} {_code}", _wanted, _reason)
    def _(status=_status, code=_code) -> Any:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said so</Message></Error>"
        with answering(status, body, {"x-ms-error-code": code}) as url:
            return by_blob(url)


for _what, _error, _wanted, _reason in (
    ("no answer", "ServiceResponseTimeoutError", TIMEOUT, "the next call may be answered"),
    ("hang-up", "ServiceResponseError", TRANSIENT, "the server closed before it answered"),
):

    @case("azure-core", _error, _what, _wanted, _reason)
    def _(handler=WEB[_what]) -> Any:
        with web(handler) as url:
            return by_blob(url)


@case("azure-core", "ServiceRequestError", "refused", TRANSIENT, "the service may be starting")
def _() -> Any:
    return by_blob(refusing())


@case("azure-storage-blob", "ValueError", "a connection string that does not parse", PERMANENT, "the caller's mistake")
def _() -> Any:
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient.from_connection_string("AccountName")


@case("azure-identity", "CredentialUnavailableError", "no credential is set", PERMANENT, "the configuration lacks it")
def _() -> Any:
    from azure.identity import EnvironmentCredential

    return EnvironmentCredential().get_token("https://example.invalid/.default")
