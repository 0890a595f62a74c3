"""The faulty server, with real clients over real sockets."""

import contextlib
import csv
import dataclasses
import io
import json
import socket
import subprocess
import sys
import threading
import time

import httpx
import pandas as pd
import polars as pl
import pytest

from resilient_tasks.testing.faults import (
    Corrupt,
    Drip,
    Hang,
    Incomplete,
    Refused,
    Reset,
    Slow,
    Status,
    Truncate,
    break_csv,
    break_json,
)
from resilient_tasks.testing.http import FaultyServer, Response
from resilient_tasks.testing.slack import FakeSlack

# No TLS context: creating one takes far longer than a request on the loopback interface.
web = httpx.Client(timeout=5, trust_env=False, verify=False)
BODY = json.dumps([{"carrier": "UA", "distance": n} for n in range(50)])


@pytest.fixture(autouse=True, scope="module")
def _close_web():
    yield
    web.close()


@pytest.fixture
def server():
    with FaultyServer() as server:
        server.serve("/data", BODY)
        yield server


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=2, trust_env=False, verify=False) as client:
        yield client


def raw_answer(server, path="/data"):
    """Return the bytes of the response up to the end of the connection, and the error that ended it."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError as error:
            return received, error
    return received, None


# --- serving -----------------------------------------------------------------------------------------------------


def test_a_path_is_served_with_its_type_and_headers(server, client):
    server.serve("/flights.csv", "carrier\nUA\n", content_type="text/csv", headers={"X-Version": "7"})
    answer = client.get("/flights.csv")
    assert (answer.status_code, answer.text) == (200, "carrier\nUA\n")
    assert (answer.headers["content-type"], answer.headers["x-version"]) == ("text/csv", "7")


def test_a_function_answers_from_the_request(server, client):
    server.serve("/month", lambda request: f"{request.method} {request.query['m']} {request.body.decode()}")
    assert client.post("/month?m=2013-07", content="hello").text == "POST 2013-07 hello"


def test_a_function_may_return_a_whole_response(server, client):
    server.serve("/made", lambda request: Response("made", 201, "text/plain", {"Location": "/made/1"}))
    answer = client.post("/made", json={"a": 1})
    assert (answer.status_code, answer.headers["location"], answer.text) == (201, "/made/1", "made")
    assert server.requests[0].json() == {"a": 1}


def test_the_handler_answers_where_no_path_is_served():
    with FaultyServer(handler=lambda request: f"you asked for {request.path}") as server:
        server.serve("/known", "known")
        assert web.get(server.url + "/known").text == "known"
        assert web.get(server.url + "/a%20b").text == "you asked for /a b"


def test_an_unknown_path_is_a_404_that_names_the_known_ones(client):
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert "/data" in answer.text


def test_a_path_without_a_slash_is_refused_with_the_remedy(server):
    with pytest.raises(ValueError, match="begins with a slash; write '/flights'"):
        server.serve("flights", b"")


def test_a_body_that_is_not_text_is_refused_with_the_remedy(server, client):
    with pytest.raises(TypeError, match=r"not tuple: pass json.dumps"):
        server.serve("/rows", ())
    server.serve("/rows", lambda request: ())
    assert "pass json.dumps" in client.get("/rows").text


def test_a_handler_that_raises_is_a_500_with_its_traceback(server, client):
    server.serve("/bug", lambda request: {}["missing"])
    answer = client.get("/bug")
    assert answer.status_code == 500
    assert "KeyError: 'missing'" in answer.text
    assert server.requests[-1].status == 500


def test_a_body_sent_in_chunks_is_read(server, client):
    server.serve("/echo", lambda request: request.body)
    assert client.post("/echo", content=iter([b"one,", b"two"])).text == "one,two"
    assert client.post("/echo", content=b"three").text == "three"


def test_a_length_that_is_not_a_number_is_a_400(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
        connection.sendall(b"POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_connections_are_kept_alive(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
        for _ in range(2):
            connection.sendall(b"GET /data HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(BODY.encode()):
                answer += connection.recv(65536)
    assert len(server.requests) == 2


# --- faults ------------------------------------------------------------------------------------------------------


def test_a_server_that_is_down_twice_answers_503_twice(server, client):
    server.down(2)
    assert [client.get("/data").status_code for _ in range(3)] == [503, 503, 200]


@pytest.mark.parametrize(
    ("given", "sent"),
    [(30, "30"), (30.0, "30"), (0.05, "0.05"), ("Wed, 21 Oct 2015 07:28:00 GMT",) * 2, (None, None)],
)
def test_a_rate_limit_carries_its_retry_after(server, client, given, sent):
    server.rate_limited(1, retry_after=given)
    answer = client.get("/data")
    assert answer.status_code == 429
    assert answer.headers.get("retry-after") == sent


def test_a_reset_in_mid_body_raises_read_error(server, client):
    server.reset(after_bytes=100)
    with pytest.raises(httpx.ReadError):
        client.get("/data")
    assert client.get("/data").text == BODY


def test_a_reset_sends_after_bytes_and_then_rst(server):
    server.reset(after_bytes=100)
    received, error = raw_answer(server)
    assert isinstance(error, ConnectionResetError)
    head, body = received.split(b"\r\n\r\n")
    assert f"Content-Length: {len(BODY)}".encode() in head
    assert body == BODY[:100].encode()


@pytest.mark.parametrize("body", ["", "x", "short"])
@pytest.mark.parametrize("fault", [Reset(10_000), Incomplete(0.99)])
def test_even_the_shortest_body_never_arrives_whole(server, client, body, fault):
    server.serve("/short", body)
    server.fail(fault)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.get("/short")


def test_a_truncated_body_is_not_a_protocol_error(server, client):
    server.truncated(keep=0.3)
    answer = client.get("/data")
    assert answer.status_code == 200
    assert answer.text == BODY[: int(0.3 * len(BODY))]
    assert answer.headers["content-length"] == str(len(answer.content))


def test_an_incomplete_body_is_a_protocol_error(server, client):
    server.fail(Incomplete(0.5))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        client.get("/data")


def test_a_hang_outlasts_the_clients_timeout(server, client):
    server.hangs(60)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/data", timeout=0.1)
    assert server.requests[-1].status is None


def test_a_hang_ends_without_an_answer(server, client):
    server.hangs(0.01)
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        client.get("/data")


def test_a_drip_beats_a_timeout_per_read(server, client):
    server.serve("/slowly", "x" * 30)
    server.fail(Drip(bytes_per_second=100))
    started = time.monotonic()
    assert client.get("/slowly", timeout=0.2).text == "x" * 30
    assert time.monotonic() - started > 0.25


def test_a_slow_answer_comes_whole_after_the_delay(server, client):
    server.slow(0.1)
    started = time.monotonic()
    assert client.get("/data").text == BODY
    assert time.monotonic() - started >= 0.1


def test_a_refused_request_is_counted_and_really_refused(server, client):
    server.refused()
    with pytest.raises(httpx.ConnectError):
        client.get("/data", follow_redirects=True)
    assert client.get("/data", follow_redirects=True).text == BODY
    assert [(served.fault, served.status) for served in server.requests] == [("refused", 307), (None, 200)]


@pytest.mark.parametrize("body", [BODY, "{}", "123", '"text"', "null", "", '{"é": "é"}\n'])
def test_malformed_json_never_parses(server, client, body):
    server.serve("/json", body)
    server.malformed_json()
    with pytest.raises(json.JSONDecodeError):
        client.get("/json").json()


@pytest.mark.parametrize("body", [b"a,b,c\n1,2,3\n4,5,6\n", b"a;b\r\n1;2\r\n", b"a\n1", b"a,b\n", b"a\tb\n1\t2\n"])
def test_malformed_csv_is_rejected_by_every_reader(server, client, body):
    server.serve("/csv", body)
    server.malformed_csv()
    got = client.get("/csv").content
    separator = next((s for s in ",;\t" if s.encode() in body), ",")
    with pytest.raises(pd.errors.ParserError):
        pd.read_csv(io.BytesIO(got), sep=separator)
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_csv(got, separator=separator)
    with pytest.raises(csv.Error):
        list(csv.reader(io.StringIO(got.decode()), delimiter=separator, strict=True))


def test_a_custom_function_corrupts_a_body(server, client):
    server.fail(Corrupt(lambda body: body.replace(b"UA", b"??"), name="unknown_carrier"))
    assert client.get("/data").text == BODY.replace("UA", "??")
    assert server.served_faults() == {"unknown_carrier": 1}


@pytest.mark.parametrize("fault", [Status(503), Hang(0), Refused()])
def test_the_handler_does_not_run_under_a_fault_that_replaces_it(server, client, fault):
    ran = []
    server.serve("/work", lambda request: ran.append(request) or b"")
    server.fail(fault)
    if isinstance(fault, Hang):
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/work")
    else:
        client.post("/work")
    assert ran == []


def test_the_handler_has_run_when_its_answer_is_lost(server, client):
    ran = []
    server.serve("/work", lambda request: ran.append(request) or b"done")
    server.reset()
    with pytest.raises(httpx.ReadError):
        client.post("/work")
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Status(100), "code from 200 to 599"),
        (lambda: Reset(-1), "from 0 on"),
        (lambda: Truncate(1), "fraction from 0 to below 1"),
        (lambda: Incomplete(-0.1), "fraction from 0 to below 1"),
        (lambda: Hang(-1), "a number of seconds from 0 up"),
        (lambda: Slow(float("nan")), "a number of seconds from 0 up"),
        (lambda: Drip(0), "above 0 bytes"),
    ],
)
def test_an_impossible_fault_is_refused_at_construction(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_faults_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Hang(1).seconds = 2


# --- which request meets which fault -----------------------------------------------------------------------------


def test_queued_faults_are_met_in_order(server, client):
    server.fail(Status(500), Status(404))
    server.down()
    assert [client.get("/data").status_code for _ in range(4)] == [500, 404, 503, 200]


def test_a_fault_for_one_path_waits_for_it(server, client):
    server.serve("/other", "fine")
    server.down(path="/data")
    server.fail(Status(418), path="/oth*")
    assert [client.get(path).status_code for path in ("/other", "/other", "/data", "/data")] == [418, 200, 503, 200]


OF_EACH = {
    "down": (),
    "rate_limited": (),
    "slow": (0,),
    "hangs": (0,),
    "reset": (),
    "truncated": (),
    "malformed_json": (),
    "malformed_csv": (),
    "refused": (),
}
OF_SLACK = {"refuses": ("invalid_auth",), "accepts_and_hangs": (0,), "drips": (1000,), "bad_gateway": ()}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [(FaultyServer, fault) for fault in OF_EACH] + [(FakeSlack, fault) for fault in (*OF_EACH, *OF_SLACK)],
)
def test_each_fault_can_be_limited_to_a_path(kind, fault):
    with kind() as server:
        server.serve("/here", "here")
        server.serve("/elsewhere", "elsewhere")
        getattr(server, fault)(*(OF_EACH | OF_SLACK)[fault], path="/he*")
        with httpx.Client(trust_env=False, timeout=5) as client:
            client.get(server.url + "/elsewhere")
            with contextlib.suppress(httpx.TransportError):
                client.get(server.url + "/here")
        elsewhere, here = server.requests
        assert (elsewhere.fault, here.fault is None) == (None, False)


def test_a_choice_waits_for_a_matching_request(server, client):
    server.fail_by(lambda request: Status(403) if request.method == "POST" else None)
    answers = [client.get("/data"), client.post("/data"), client.post("/data")]
    assert [answer.status_code for answer in answers] == [200, 403, 200]


def test_the_schedule_sees_every_request_and_the_queue_goes_first():
    asked = []

    def every_second(request):
        asked.append(request.number)
        return Status(500) if len(asked) % 2 == 0 else None

    with FaultyServer(lambda request: b"", every_second) as server:
        server.fail(Status(418), Status(418))
        assert [web.get(server.url).status_code for _ in range(4)] == [418, 418, 200, 500]
    assert asked == [1, 2, 3, 4]


def test_the_schedule_is_called_for_one_request_at_a_time():
    inside, most = [], []

    def schedule(request):
        inside.append(request)
        most.append(len(inside))
        threading.Event().wait(0.002)
        inside.pop()

    with FaultyServer(lambda request: b"", schedule) as server:
        threads = [threading.Thread(target=web.get, args=(server.url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == [1] * 8


def test_a_schedule_may_queue_further_faults():
    def schedule(request):
        if request.number == 1:
            server.down()

    with FaultyServer(lambda request: b"", schedule) as server:
        assert [web.get(server.url).status_code for _ in range(2)] == [503, 200]


def test_a_schedule_that_raises_is_a_500_with_its_traceback():
    with FaultyServer(lambda request: b"", lambda request: 1 / 0) as server:
        answer = web.get(server.url)
    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.text


# --- recorded requests -------------------------------------------------------------------------------------------


def test_requests_are_recorded_with_their_results(server, client):
    server.down()
    before = time.time()
    client.get("/data", params={"month": "7", "empty": ""}, headers={"X-Run": "a"})
    client.post("/data", content=b"body")
    first, second = server.requests
    assert (first.number, first.method, first.path, first.query) == (1, "GET", "/data", {"month": "7", "empty": ""})
    assert (first.fault, first.status, first.headers["x-run"]) == ("status", 503, "a")
    assert (second.number, second.method, second.body, second.fault) == (2, "POST", b"body", None)
    assert before <= first.time <= second.time <= time.time()
    assert server.served_faults() == {"status": 1}


def test_the_log_has_a_line_a_request_and_no_secrets(tmp_path):
    log = tmp_path / "access.jsonl"
    with FaultyServer(lambda request: b"", log=log) as server:
        server.reset()
        with pytest.raises(httpx.ReadError):
            web.get(server.url + "/a?b=c", headers={"Authorization": "Bearer s3cret", "X-Request-ID": "call-1/2"})
        web.post(server.url + "/d", content=b"s3cret")
    text = log.read_text()
    first, second = map(json.loads, text.splitlines())
    assert {**first, "time": 0} == {
        "number": 1, "time": 0, "id": "call-1/2", "method": "GET", "path": "/a", "query": {"b": "c"},
        "fault": "reset", "status": 200, "left": False,
    }  # fmt: skip
    assert (second["id"], second["fault"], second["status"]) == ("", None, 200)
    assert "s3cret" not in text


def test_the_log_never_lags_behind_the_client(tmp_path):
    log = tmp_path / "access.jsonl"
    with FaultyServer(lambda request: b"x", log=log) as server:
        for number in range(1, 101):
            web.get(server.url)
            assert len(log.read_text().splitlines()) == number


def test_a_hang_is_logged_while_it_lasts(tmp_path):
    log = tmp_path / "access.jsonl"
    with FaultyServer(log=log) as server:
        server.hangs(60)
        with pytest.raises(httpx.ReadTimeout):
            web.get(server.url, timeout=0.1)
        assert json.loads(log.read_text())["fault"] == "hang"


def test_a_client_that_left_before_the_answer_is_logged_as_such(tmp_path):
    log = tmp_path / "access.jsonl"
    with FaultyServer(log=log) as server, socket.create_connection(("127.0.0.1", server.port)) as client:

        def answer(_):
            client.shutdown(socket.SHUT_WR)  # it still reads the response, so that this test can wait for it
            return b"too late"

        server.serve("/data", answer)
        client.sendall(b"GET /data HTTP/1.1\r\nHost: here\r\n\r\n")
        heard = client.makefile("rb").read()
        web.get(server.url)
        shown = [json.loads(line)["left"] for line in log.read_text().splitlines()]
    assert heard.endswith(b"too late")
    assert [request.left for request in server.requests] == shown == [True, False]


# --- starting and stopping ---------------------------------------------------------------------------------------


def test_a_port_in_use_is_reported_in_a_sentence(server):
    with pytest.raises(OSError, match=f"Port {server.port} on 127.0.0.1 is in use: stop what listens there"):
        FaultyServer(port=server.port).start()


def test_the_url_of_a_server_never_started_says_what_to_do():
    with pytest.raises(RuntimeError, match="start it"):
        _ = FaultyServer().url


def test_starting_twice_is_refused_and_stopping_twice_is_not():
    server = FaultyServer().start()
    with pytest.raises(RuntimeError, match="already running"):
        server.start()
    server.stop()
    server.stop()


def test_a_server_comes_back_on_its_port():
    server = FaultyServer(lambda request: b"back")
    with server:
        url = server.url
    with server:
        assert server.url == url
        assert web.get(url).text == "back"


@pytest.mark.parametrize("fault", [Hang(60), Slow(60), Drip(0.1)])
def test_stopping_is_quick_while_clients_wait(fault):
    server = FaultyServer(lambda request: b"x" * 1000).start()
    server.fail(fault)
    ended = []

    def wait_for_answer():
        try:
            web.get(server.url, timeout=30)
        except httpx.HTTPError as error:
            ended.append(error)

    client = threading.Thread(target=wait_for_answer)
    client.start()
    while not server.requests:
        threading.Event().wait(0.005)
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 0.5
    client.join(2)
    assert len(ended) == 1


def test_stopping_drops_connections_that_clients_keep_alive(server, client):
    client.get("/data")
    server.stop()
    with pytest.raises(httpx.ConnectError):
        client.get("/data")


def test_offline_refuses_even_pooled_connections_and_comes_back(server, client):
    assert client.get("/data").status_code == 200
    url = server.url
    with server.offline():
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                client.get("/data")
        assert server.url == url
    assert client.get("/data").status_code == 200
    assert [served.number for served in server.requests] == [1, 2]


def test_offline_ends_when_the_block_raises(server, client):
    with pytest.raises(KeyError), server.offline():
        raise KeyError
    assert client.get("/data").status_code == 200


def test_an_offline_server_keeps_its_port(server):
    with server.offline(), socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", server.port))


def test_taking_a_stopped_server_offline_is_refused():
    with pytest.raises(RuntimeError, match="not running"), FaultyServer().offline():
        pass


def test_clients_that_leave_make_no_noise(server, client, capfd):
    server.serve("/big", b"x" * 5_000_000)
    get_and_leave = b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"
    half_a_post = b"POST /data HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"
    for sent in (get_and_leave, half_a_post, b"GE"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
            connection.sendall(sent)
    client.get("/data")  # accepted after those that left, and kept alive as the last open connection
    while len(server._listener._connections) > 1:
        threading.Event().wait(0.005)
    assert capfd.readouterr() == ("", "")


def test_a_defect_while_answering_is_shown_on_stderr(server, client, capfd):
    server.serve("/odd", b"", headers={"X-Odd": "\u2026"})
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/odd")
    while server._listener._connections:
        threading.Event().wait(0.005)
    assert "UnicodeEncodeError" in capfd.readouterr().err


def test_forty_clients_at_once_are_all_answered(server):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(web.get(server.url + "/data").status_code)) for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 40
    assert sorted(served.number for served in server.requests) == list(range(1, 41))


def test_the_fake_servers_need_the_standard_library_only():
    probe = (
        "import sys; from resilient_tasks.testing import slack;"
        "print([n for n in ('prefect', 'pandas', 'httpx', 'slack_sdk') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_breakers_change_bodies_in_the_documented_way():
    assert break_json(b'{"a": 1}\n') == b'{"a": 1,'
    assert break_csv(b"a,b\n1,2\n") == b'a,b\n1,2\n?,?,"cut off in mid-fie'
