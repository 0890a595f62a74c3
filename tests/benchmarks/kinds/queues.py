"""Queues: AMQP, Kafka, NATS, MQTT, ZooKeeper, and what is built on them."""

from typing import Any

from .corpus import BUSY, LATE, PERMANENT, RESOURCE, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import HOST, closed_port, hang, serving

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


PIKA = (
    (
        "ConnectionClosedByBroker",
        (320, "CONNECTION_FORCED - broker forced connection closure"),
        TRANSIENT,
        "the broker restarts",
    ),
    (
        "StreamLostError",
        ("Stream connection lost: ConnectionResetError(104, 'Connection reset by peer')",),
        TRANSIENT,
        "a broken connection",
    ),
    (
        "AMQPHeartbeatTimeout",
        ("No activity or too many missed heartbeats in the last 60 seconds",),
        LATE,
        "a broken connection",
    ),
    (
        "ConnectionBlockedTimeout",
        ("Blocked connection timeout expired.",),
        LATE,
        "the broker is short of memory for now",
    ),
    (
        "ProbableAuthenticationError",
        ("ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login was refused'",),
        PERMANENT,
        "the password is wrong",
    ),
    (
        "ChannelClosedByBroker",
        (404, "NOT_FOUND - no queue 'flights' in vhost '/'"),
        PERMANENT,
        "it does not appear by itself",
    ),
    (
        "ChannelClosedByBroker",
        (406, "PRECONDITION_FAILED - inequivalent arg 'durable'"),
        PERMANENT,
        "the queue is declared otherwise",
    ),
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


@case("kombu", "ContentDisallowed", "pickle is not allowed", UNFIT, "the configuration forbids it")
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
