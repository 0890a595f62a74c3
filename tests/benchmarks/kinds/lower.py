"""Below HTTP and beside it: curl, event loops, RPC, message sockets, terminals."""

from contextlib import closing
from typing import Any

from . import caches
from .corpus import BUSY, LATE, PERMANENT, TIMEOUT, TRANSIENT, case
from .servers import HOST, UNRESOLVABLE, WEB, answering, closed_port, hang, refusing, serving, tls, web

# curl


def by_pycurl(url: str) -> Any:
    import pycurl

    curl = pycurl.Curl()
    for option, value in ((curl.URL, url), (curl.TIMEOUT_MS, 300), (curl.FAILONERROR, True), (curl.WRITEFUNCTION, len)):
        curl.setopt(option, value)
    with closing(curl):
        return curl.perform()


CURL = (
    ("7: refused", refusing, TRANSIENT, "the server may be starting"),
    ("6: unresolvable name", lambda: f"http://{UNRESOLVABLE}", TRANSIENT, "name servers fail for a while"),
    ("1: a scheme that it cannot speak", lambda: "nope://127.0.0.1", PERMANENT, "the caller's mistake"),
    ("3: an address that is none", lambda: "http://127.0.0.1:x", PERMANENT, "the caller's mistake"),
)
for _what, _address, _wanted, _reason in CURL:

    @case("pycurl", "error", _what, _wanted, _reason)
    def _(address=_address) -> Any:
        return by_pycurl(address())


CURL_SERVERS = (
    ("28: no answer", lambda: web(WEB["no answer"]), TIMEOUT, "the next call may be answered"),
    ("52: hang-up", lambda: web(WEB["hang-up"]), TRANSIENT, "the server closed before it answered"),
    ("56: reset in mid-body", lambda: web(WEB["reset in mid-body"]), TRANSIENT, "a broken connection"),
    ("22: 404", lambda: answering(404), PERMANENT, "it does not appear by itself"),
    ("22: 503", lambda: answering(503), TRANSIENT, "unavailable for now"),
)
for _what, _server, _wanted, _reason in CURL_SERVERS:

    @case("pycurl", "error", _what, _wanted, _reason)
    def _(server=_server) -> Any:
        with server() as url:
            return by_pycurl(url)


@case("pycurl", "error", "60: a certificate signed by itself", PERMANENT, "it stays untrusted until a person acts")
def _() -> Any:
    with tls() as port:
        return by_pycurl(f"https://localhost:{port}")


# Event loops


@case("trio", "TooSlowError", "a limit", TIMEOUT, "the next call may be quicker")
def _() -> Any:
    import trio

    async def slow() -> None:
        with trio.fail_after(0.05):
            await trio.sleep(5)

    return trio.run(slow)


@case("trio", "OSError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    import trio

    return trio.run(trio.open_tcp_stream, HOST, closed_port())


LOOPS = (
    ("trio", "trio", "BrokenResourceError", TRANSIENT, "the other side is gone"),
    ("trio", "trio", "ClosedResourceError", PERMANENT, "this side closed it: the caller's mistake"),
    ("anyio", "anyio", "BrokenResourceError", TRANSIENT, "the other side is gone"),
    ("anyio", "anyio", "ClosedResourceError", PERMANENT, "this side closed it: the caller's mistake"),
)
for _library, _module, _error, _wanted, _reason in LOOPS:

    @case(_library, _error, "as a stream raises it", _wanted, _reason, built=True)
    def _(module=_module, error=_error) -> Any:
        from importlib import import_module

        return getattr(import_module(module), error)()


@case("gevent", "Timeout", "a limit", TIMEOUT, "the next call may be quicker")
def _() -> Any:
    import gevent

    return gevent.spawn(gevent.sleep, 5).get(timeout=0.05)


# RPC and message sockets


def by_thrift(port: int) -> Any:
    from thrift.protocol.TBinaryProtocol import TBinaryProtocol
    from thrift.transport.TSocket import TSocket

    link = TSocket(HOST, port)
    link.setTimeout(200)
    link.open()
    return TBinaryProtocol(link).readMessageBegin()


@case("thrift", "TTransportException", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    return by_thrift(closed_port())


@case("thrift", "TTransportException", "no answer", LATE, "the next call may be answered")
def _() -> Any:
    with serving(hang) as port:
        return by_thrift(port)


@case("thrift", "TApplicationException", "no such method", PERMANENT, "the caller's mistake", built=True)
def _() -> Any:
    from thrift.Thrift import TApplicationException

    return TApplicationException(TApplicationException.UNKNOWN_METHOD, "Unknown function nope")


for _name, _wanted, _reason in (
    ("UNAVAILABLE", TRANSIENT, "the word for it"),
    ("RESOURCE_EXHAUSTED", BUSY, "asks for fewer calls"),
    ("DEADLINE_EXCEEDED", TIMEOUT, "it may be quicker next time"),
    ("NOT_FOUND", PERMANENT, "it does not appear by itself"),
    ("INVALID_ARGUMENT", PERMANENT, "the caller's mistake"),
):

    @case("grpclib", "GRPCError", _name, _wanted, _reason, built=True)
    def _(name=_name) -> Any:
        from grpclib import GRPCError, Status

        return GRPCError(Status[name], "said so")


@case("pyzmq", "Again", "nothing in time", LATE, "'again' is its name")
def _() -> Any:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as receiver:
        receiver.setsockopt(zmq.RCVTIMEO, 50)
        receiver.bind("tcp://127.0.0.1:*")
        return receiver.recv()


@case("pyzmq", "ZMQError", "an address that is none", PERMANENT, "the caller's mistake")
def _() -> Any:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as receiver:
        return receiver.bind("nope")


@case("aiokafka", "KafkaConnectionError", "refused", TRANSIENT, "the brokers may be starting")
async def _() -> Any:
    import aiokafka

    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=f"{HOST}:{closed_port()}", request_timeout_ms=500)
    try:
        await producer.start()
    finally:
        await producer.stop()


for _error, _wanted, _reason in (
    ("NotLeaderForPartitionError", TRANSIENT, "a new leader was chosen"),
    ("RequestTimedOutError", TIMEOUT, "the broker waited for its replicas"),
    ("GroupCoordinatorNotAvailableError", TRANSIENT, "a coordinator is being chosen"),
    ("TopicAuthorizationFailedError", PERMANENT, "the right is missing"),
    ("UnknownMemberIdError", PERMANENT, "the member has to join again"),
):

    @case("aiokafka", _error, "as the broker answers", _wanted, _reason, built=True)
    def _(error=_error) -> Any:
        import aiokafka.errors

        return getattr(aiokafka.errors, error)("said so")


@case("pexpect", "TIMEOUT", "the program says something else", TIMEOUT, "it may be quicker next time")
def _() -> Any:
    import pexpect

    return pexpect.spawn("sleep 5", timeout=0.1).expect("ready")


@case("rq", "JobTimeoutException", "the job's limit", TIMEOUT, "it may be quicker next time", built=True)
def _() -> Any:
    from rq.timeouts import JobTimeoutException

    return JobTimeoutException("Task exceeded maximum timeout value (180 seconds)")


@case("rq", "ConnectionError", "its Redis refuses connections", TRANSIENT, "the server may be starting")
def _() -> Any:
    import rq

    return rq.Queue(connection=caches.by_redis(closed_port())).enqueue("flights.load")


@case("rq", "NoSuchJobError", "no such job", PERMANENT, "it does not appear by itself", built=True)
def _() -> Any:
    from rq.exceptions import NoSuchJobError

    return NoSuchJobError("No such job: rq:job:1")
