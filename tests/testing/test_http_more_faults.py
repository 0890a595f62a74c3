"""Faults of the HTTP server for chosen requests, and faults of its content and of TLS, with a real client."""

import json
import ssl
import urllib.error
import urllib.request

import httpx
import pytest

from resilient_tasks import PolicyError
from resilient_tasks.testing import (
    BrokenGzip,
    Drip,
    FaultyServer,
    Overlong,
    RedirectLoop,
    Reset,
    Response,
    Status,
    WrongType,
)

BODY = [{"carrier": "UA", "distance": n} for n in range(50)]


@pytest.fixture
def server():
    with FaultyServer() as server:
        server.serve("/flights", BODY)
        yield server


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False, verify=False) as client:
        yield client


def test_a_dict_or_list_is_sent_as_json(server, client):
    server.serve("/one", {"carrier": "UA"})
    server.serve("/echo", lambda request: request.query)
    server.serve("/whole", lambda _: Response([1, 2], 202))
    assert client.get("/flights").json() == BODY
    assert client.get("/one").json() == {"carrier": "UA"}
    assert client.get("/echo?a=1").json() == {"a": "1"}
    assert (client.get("/whole").status_code, client.get("/whole").json()) == (202, [1, 2])
    assert client.get("/one").headers["content-type"] == "application/json"


def test_a_path_has_its_status(server, client):
    server.serve("/gone", {"error": "gone"}, status=410)
    answer = client.get("/gone")
    assert (answer.status_code, answer.json()) == (410, {"error": "gone"})


@pytest.mark.parametrize("body", [503, None, {1, 2}, {"at": object()}])
def test_a_body_that_is_no_json_is_refused(server, body):
    with pytest.raises(TypeError):
        server.serve("/flights", body)


def statuses(client, number=8, path="/flights"):
    return [client.get(path).status_code for _ in range(number)]


def test_the_requests_with_these_numbers_meet_a_fault(server, client):
    server.fail(Status(503), on=[2, 4])
    assert statuses(client, 5) == [200, 503, 200, 503, 200]
    server.fail(Status(500), on=2)
    assert statuses(client, 3) == [200, 500, 200]


def test_numbers_count_requests_to_the_path_and_faults_repeat_in_order(server, client):
    server.serve("/other", "[]")
    server.fail(Status(500), Status(502), on=(1, 2, 4), path="/flights")
    assert statuses(client, 2, "/other") == [200, 200]
    assert statuses(client, 5) == [500, 502, 200, 500, 200]


def test_a_request_that_met_a_queued_fault_counts_too(server, client):
    server.fail(Status(500), on=2)
    server.down(2)
    assert statuses(client, 3) == [503, 503, 200]


def test_a_share_of_the_requests_meets_a_fault_and_a_seed_repeats_it(client, server):
    server.fail(Status(503), Status(429), share=0.4, seed=7)
    first = statuses(client, 40)
    assert {*first} == {200, 429, 503}
    with FaultyServer() as again, httpx.Client(base_url=again.url, trust_env=False, verify=False) as other:
        again.serve("/flights", BODY)
        again.fail(Status(503), Status(429), share=0.4, seed=7)
        assert statuses(other, 40) == first


@pytest.mark.parametrize(("share", "met"), [(0, 0), (1, 6)])
def test_a_share_of_none_and_of_all_is_exact(server, client, share, met):
    server.fail(Status(503), share=share)
    assert statuses(client, 6).count(503) == met


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"on": 0}, "from 1 on"),
        ({"on": [1, "2"]}, "write on=2"),
        ({"on": []}, "write on=2"),
        ({"on": True}, "write on=2"),
        ({"share": 20}, "write share=0.2"),
        ({"share": "0.2"}, "write share=0.2"),
        ({"on": 1, "share": 0.5}, "call fail twice"),
        ({"on": 1, "path": "flights"}, "begins with a slash"),
    ],
)
def test_a_choice_without_effect_is_refused(server, options, hint):
    with pytest.raises(PolicyError, match=hint):
        server.fail(Reset(), **options)


def test_a_redirect_loop_ends_when_the_client_gives_up(server, client):
    server.fail(RedirectLoop())
    with pytest.raises(httpx.TooManyRedirects):
        client.get("/flights", follow_redirects=True)
    assert {request.fault for request in server.requests} == {"redirect_loop"}
    assert client.get("/flights").json() == BODY
    server.fail(RedirectLoop())
    with pytest.raises(urllib.error.HTTPError, match="infinite loop"):
        urllib.request.urlopen(f"{server.url}/flights", timeout=60)


def test_broken_gzip_cannot_be_decompressed(server, client):
    server.fail(BrokenGzip())
    with pytest.raises(httpx.DecodingError):
        client.get("/flights")


def test_an_overlong_body_is_cut_by_its_announced_length(server, client):
    server.fail(Overlong(0.5))
    answer = client.get("/flights")
    assert len(answer.content) == len(json.dumps(BODY)) // 2
    assert client.get("/flights").json() == BODY


def test_a_wrong_type_has_the_true_body(server, client):
    server.fail(WrongType())
    answer = client.get("/flights")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.json() == BODY


def test_a_slow_head_delays_the_status_line(server):
    server.fail(Drip(2000, part="head"))
    with httpx.Client(timeout=60, trust_env=False, verify=False) as client:
        assert client.get(f"{server.url}/flights").json() == BODY
    server.fail(Drip(1, part="head"))
    impatient = httpx.Client(timeout=httpx.Timeout(60, read=0.02), trust_env=False, verify=False)
    with impatient, pytest.raises(httpx.ReadTimeout):
        impatient.get(f"{server.url}/flights")


def test_these_faults_have_valid_options():
    for make in (lambda: Overlong(1), lambda: WrongType("html"), lambda: Drip(10, part="trailer")):
        with pytest.raises(PolicyError):
            make()


class TestTls:
    @pytest.fixture(autouse=True)
    def _extra(self):
        pytest.importorskip("trustme")

    def get(self, secure):
        context = ssl.create_default_context(cafile=str(secure.ca))
        with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
            return client.get(f"{secure.url}/flights")

    def test_a_valid_certificate_is_accepted_and_faults_apply(self, server):
        server.down()
        with server.https() as secure:
            assert self.get(secure).status_code == 503
            assert self.get(secure).json() == BODY
        assert [request.status for request in server.requests] == [503, 200]

    @pytest.mark.parametrize(
        ("certificate", "reason"),
        [("expired", "has expired"), ("other_host", "Hostname mismatch"), ("untrusted", "local issuer")],
    )
    def test_another_certificate_is_refused_for_its_reason(self, server, certificate, reason):
        with server.https(certificate) as secure, pytest.raises(httpx.ConnectError, match=reason):
            self.get(secure)
        assert server.requests == []

    def test_an_unknown_certificate_is_refused(self, server):
        with pytest.raises(PolicyError, match="'expired'"), server.https("old"):
            pass

    def test_a_server_that_is_not_running_is_refused(self):
        with pytest.raises(RuntimeError, match="start it"), FaultyServer().https():
            pass
