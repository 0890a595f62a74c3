"""E-mail, met by a real server with TLS and AUTH, in all the ways in which one fails."""

import copy
import dataclasses
import logging
import pickle
import smtplib
import socket
import ssl
import sys
import threading
import time
import traceback
from email import message_from_bytes
from email.policy import default
from types import SimpleNamespace

import cloudpickle
import pytest
from pydantic import SecretStr

from resilient_tasks import Email, Kind, PolicyError, classify, resilient
from resilient_tasks.alerts.channels.email import EmailRefusedError
from resilient_tasks.alerts.channels.smtp import _own_name
from resilient_tasks.alerts.message import Channel, Message
from resilient_tasks.alerts.outbox import incident_store
from resilient_tasks.state.states import StoreUnavailable
from resilient_tasks.testing import MailServer, flush_messages

FIRST = Message(
    key="incident-7/first",
    incident="incident-7",
    operation="fetch_month",
    kind="transient",
    error_type="ConnectError",
    error="refused",
    where="flights.py:12 in fetch_month",
    notes=("gave up after attempt 3",),
    consequence="What depends on it does not run.",
    run={"flow_run_id": "f-1", "url": "http://127.0.0.1:4200/runs/f-1?a=1&b=2"},
    time=1_700_000_000.0,
)
DIGEST = dataclasses.replace(
    FIRST, key="incident-7/digest/1", occasion="digest", count=412, total=413, seconds=900.0, flows=("a", "b")
)
RECOVERED = dataclasses.replace(FIRST, key="incident-7/recovered", occasion="recovered", total=413, seconds=1800.0)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("SMTP_PASSWORD", raising=False)


@pytest.fixture(scope="module")
def certified():
    """One server for the module: its certificate is what takes time."""
    with MailServer() as server:
        yield server


@pytest.fixture
def server():
    with MailServer() as server:
        yield server


def headers(mail):
    """The raw headers, not unfolded, by name."""
    head = mail.raw.partition(b"\r\n\r\n")[0].decode("ascii")
    lines = head.replace("\r\n ", " ").split("\r\n")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def sent(server, message, **options):
    Email("ops@example.org", **(server.starttls | options)).send(message, within=10)
    return server.messages[-1]


# --- the ways in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_message_arrives_encrypted_and_with_a_login(server, way):
    channel = Email("Operations <ops@example.org>", **getattr(server, way), sender="alerts@example.org")
    receipt = channel.send(FIRST, within=10)
    (mail,) = server.messages
    assert (mail.secure, mail.user) == (True, server.username)
    assert (mail.sender, mail.recipients) == ("alerts@example.org", ("ops@example.org",))
    assert mail.parsed["To"] == "Operations <ops@example.org>"
    assert receipt == {"first_id": mail.parsed["Message-ID"]}


def test_a_relay_without_tls_is_used_if_the_user_asks_for_it():
    with MailServer(auth=False) as relay:
        Email("ops@example.org", relay.host, relay.port, security="none").send(FIRST, within=10)
        assert [(mail.secure, mail.user) for mail in relay.messages] == [(False, None)]


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_an_untrusted_certificate_is_refused_and_nothing_is_sent(server, certified, way):
    channel = Email("ops@example.org", **(getattr(server, way) | {"ca": certified.ca}))
    with pytest.raises(ssl.SSLCertVerificationError):
        channel.send(FIRST, within=10)
    with pytest.raises(ssl.SSLCertVerificationError):
        Email("ops@example.org", **(getattr(server, way) | {"ca": None})).send(FIRST, within=10)
    assert server.messages == []


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_certificate_of_another_name_is_refused(server, monkeypatch, way):
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kwargs: look_up(server.host, *args, **kwargs))
    channel = Email("ops@example.org", **(getattr(server, way) | {"host": "mail.example.org"}))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'mail\.example\.org'"):
        channel.send(FIRST, within=10)
    assert server.messages == []


def test_without_starttls_nothing_is_sent_unencrypted():
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            client, _ = listener.accept()
            with client, client.makefile("rb") as lines:
                client.sendall(b"220 mail.example.org\r\n")
                for line in lines:
                    heard.append(line.split()[0].upper())
                    client.sendall(b"250-mail.example.org\r\n250 AUTH PLAIN\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        channel = Email(
            "ops@example.org", "127.0.0.1", listener.getsockname()[1], username="someone", password="a-password"
        )
        with pytest.raises(EmailRefusedError, match="offers no STARTTLS") as caught:
            channel.send(FIRST, within=5)
        thread.join(5)
    assert heard == [b"EHLO"]
    assert classify(caught.value) is Kind.PERMANENT


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_mail_that_was_refused_once_is_accepted_on_the_next_attempt(server, way):
    channel = Email("ops@example.org", **getattr(server, way))
    server.refuses(451, text="4.3.0 not now")
    with pytest.raises(EmailRefusedError, match="451") as caught:
        channel.send(FIRST, within=10)
    assert classify(caught.value) is Kind.TRANSIENT
    channel.send(FIRST, within=10)
    channel.send(RECOVERED, within=10)
    first, recovered = (mail.parsed for mail in server.messages)
    assert recovered["In-Reply-To"] == recovered["References"] == first["Message-ID"]


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_wrong_password_is_final(server, way):
    channel = Email("ops@example.org", **(getattr(server, way) | {"password": "another"}))
    with pytest.raises(EmailRefusedError, match=r"refused the username and password .535"):
        channel.send(FIRST, within=10)
    assert server.messages == []


# --- what arrives ------------------------------------------------------------------------------------------------


def test_the_mails_of_an_incident_are_threaded_by_their_raw_headers(certified):
    first = headers(sent(certified, FIRST))
    later = [headers(sent(certified, message)) for message in (DIGEST, RECOVERED)]
    for mail in later:
        assert mail["In-Reply-To"] == mail["References"] == first["Message-ID"]
        assert mail["Subject"] == f"Re: {first['Subject']}"
    assert "In-Reply-To" not in first
    assert len({mail["Message-ID"] for mail in (first, *later)}) == 3
    assert first["Subject"] == "fetch_month failed: ConnectError"


def test_mails_are_threaded_for_a_sender_with_a_long_domain(certified):
    """Longer than a line, Python's own policy encodes an id as if it were text."""
    sender = f"alerts@{'a-rather-long-department-' * 2}x.example.org"
    first, digest = (headers(sent(certified, message, sender=sender)) for message in (FIRST, DIGEST))
    assert first["Message-ID"].endswith(f"@{sender.partition('@')[2]}>")
    assert digest["In-Reply-To"] == digest["References"] == first["Message-ID"]


def test_a_thread_follows_the_first_mail_even_if_the_sender_has_changed_since(certified):
    receipt = Email("ops@example.org", **certified.starttls, sender="old@example.com").send(FIRST, within=10)
    first = headers(certified.messages[-1])["Message-ID"]
    assert first.endswith("@example.com>")
    new = Email("ops@example.org", **certified.starttls, sender="new@example.org")
    for message in (DIGEST, RECOVERED):  # each is given what the one before returned
        receipt = new.send(dataclasses.replace(message, thread=receipt), within=10)
        assert headers(certified.messages[-1])["In-Reply-To"] == first


@pytest.mark.parametrize("message", [FIRST, DIGEST, RECOVERED], ids=lambda message: message.occasion)
def test_a_repeated_delivery_is_the_same_mail_to_the_last_byte(certified, message):
    assert sent(certified, message).raw == sent(certified, message).raw


def test_incidents_have_mails_and_threads_of_their_own(certified):
    other = dataclasses.replace(FIRST, key="incident-8/first", incident="incident-8")
    answer = dataclasses.replace(DIGEST, key="incident-8/digest/1", incident="incident-8")
    mails = [headers(sent(certified, message)) for message in (FIRST, other, DIGEST, answer)]
    assert len({mail["Message-ID"] for mail in mails}) == 4
    assert [mail["In-Reply-To"] for mail in mails[2:]] == [mail["Message-ID"] for mail in mails[:2]]


def test_a_mail_is_marked_as_automatic_and_dated(certified):
    mail = sent(certified, FIRST).parsed
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime.timestamp() == FIRST.time
    now = sent(certified, dataclasses.replace(FIRST, time=0.0)).parsed["Date"].datetime.timestamp()
    assert abs(now - time.time()) < 60


def test_a_mail_is_plain_text_with_html_as_its_alternative(certified):
    mail = sent(certified, FIRST)
    assert mail.parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.parsed.iter_parts()] == ["text/plain", "text/html"]
    assert mail.text.strip() == FIRST.text()
    for part in ("fetch_month failed: ConnectError", "refused", "flights.py:12", "gave up after attempt 3", "f-1"):
        assert part in mail.html
    assert '<a href="http://127.0.0.1:4200/runs/f-1?a=1&amp;b=2">' in mail.html
    assert mail.raw.isascii()
    assert max(map(len, mail.raw.split(b"\r\n"))) <= 78


def test_digest_and_recovery_say_how_often_and_for_how_long(certified):
    digest, recovered = (sent(certified, message) for message in (DIGEST, RECOVERED))
    for mail in (digest.text, digest.html):
        assert "412 more" in mail
        assert "in 2 flows (a, b)" in mail
    for mail in (recovered.text, recovered.html):
        assert "fetch_month works again" in mail
        assert "413 times in 30 min" in mail


INJECTIONS = [
    "boom\r\nBcc: everybody@example.org",
    "boom\nBcc: everybody@example.org\n\nbody",
    "boom\rBcc: everybody@example.org",
    "boom\x0bBcc: x\x0cBcc: y\x1cBcc: z\x85Bcc: v\u2028Bcc: w\u2029Bcc: u",
    "boom\0Bcc: everybody@example.org",
    "=?utf-8?q?boom=0D=0ABcc=3A_everybody=40example.org?=",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_text_can_end_the_subject_or_add_a_header(certified, text):
    plain = headers(sent(certified, FIRST)).keys()
    message = dataclasses.replace(FIRST, error_type=text, operation=text, incident=text, key=text, kind=text)
    mail = sent(certified, message)
    assert headers(mail).keys() == plain
    assert mail.recipients == ("ops@example.org",)
    assert mail.subject.startswith(("boom", "= ?utf-8?q?boom"))
    assert len(mail.subject.splitlines()) == 1


@pytest.mark.parametrize("text", [*INJECTIONS, "x> <evil@example.org"])
def test_no_stored_thread_can_add_a_header_either(certified, text):
    plain = headers(sent(certified, DIGEST)).keys()
    assert headers(sent(certified, dataclasses.replace(DIGEST, thread={"first_id": text}))).keys() == plain


def test_a_line_with_a_dot_does_not_end_the_mail(certified):
    before = len(certified.messages)
    mail = sent(certified, dataclasses.replace(FIRST, error="a\r\n.\r\nMAIL FROM:<evil@example.org>\r\n.\n..b"))
    assert len(certified.messages) == before + 1
    assert "\n.\nMAIL FROM:<evil@example.org>\n.\n..b\n" in mail.text


def test_html_in_an_error_is_escaped(certified):
    nasty = "<script>alert(1)</script> & \"quoted\" 'text'"
    run = {"flow_run_id": nasty, "url": "javascript:alert(1)"}
    message = dataclasses.replace(
        FIRST, error=nasty, error_type=nasty, operation=nasty, where=nasty, notes=(nasty,), consequence=nasty, run=run
    )
    for each in (message, dataclasses.replace(message, occasion="digest", flows=(nasty, "b"))):
        page = sent(certified, each).html
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quoted&quot; &#x27;text&#x27;" in page
        assert "href" not in page


def test_any_python_text_can_be_sent(certified):
    text = "größer 東京 🔥 \ud800 \0 end"
    mail = sent(certified, dataclasses.replace(FIRST, error=text, operation=text, where=text, incident=text, key=text))
    shown = "größer 東京 🔥 ? ␀ end"
    assert shown in mail.text
    assert shown in mail.html
    assert mail.raw.isascii()  # no relay on the way has to know more
    assert mail.subject == f"{shown} failed: ConnectError"


def test_a_long_subject_is_cut(certified):
    mail = sent(certified, dataclasses.replace(FIRST, operation="ü" * 5000))
    assert mail.subject == "ü" * 199 + "…"


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["connect", "starttls", "auth", "mail", "rcpt", "data", "message"])
@pytest.mark.parametrize(("code", "kind"), [(421, Kind.TRANSIENT), (451, Kind.TRANSIENT), (554, Kind.PERMANENT)])
def test_the_code_of_a_refusal_decides_whether_it_is_tried_again(certified, stage, code, kind):
    before = len(certified.messages)
    certified.refuses(code, at=stage, text="4.7.1 no\x01t now")
    # smtplib tries another way of logging in where one was refused, and finds the connection closed after 421.
    error, text = (ConnectionError, "closed") if (stage, code) == ("auth", 421) else (EmailRefusedError, str(code))
    with pytest.raises(error, match=text) as caught:
        sent(certified, FIRST)
    assert classify(caught.value) is kind
    assert len(certified.messages) == before
    sent(certified, FIRST)
    assert len(certified.messages) == before + 1


def test_a_wrong_password_is_a_final_refusal_that_does_not_show_it(server):
    wrong = "not-the-right-one"
    with pytest.raises(EmailRefusedError, match=r"refused the username and password .535") as caught:
        sent(server, FIRST, password=wrong)
    assert classify(caught.value) is Kind.PERMANENT
    assert caught.value.__context__ is None
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "resilient_tasks" in frame.filename]
    assert ours
    assert wrong not in "".join(shown.stack.from_list(ours).format())


def test_a_login_that_the_server_does_not_support_is_an_error():
    with MailServer(auth=False) as relay:
        options = {**relay.starttls, "username": "someone", "password": "a-password"}
        with pytest.raises(EmailRefusedError, match="AUTH"):
            Email("ops@example.org", **options).send(FIRST, within=10)


def test_a_refusal_can_be_pickled():
    error = EmailRefusedError("no", 451, {"ops@example.org": (451, "later")})
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.smtp_code, again.recipients) == ("no", 451, {"ops@example.org": (451, "later")})


# --- several recipients ------------------------------------------------------------------------------------------

PAIR = ["ops@example.org", "gone@example.org"]


def test_one_mail_goes_to_all_its_recipients(server):
    Email(["ops@example.org", "Team <ml@example.org>", "ops@example.org"], **server.starttls).send(FIRST, within=10)
    (mail,) = server.messages
    assert mail.recipients == ("ops@example.org", "ml@example.org")


def test_an_unknown_recipient_does_not_keep_the_mail_from_the_others(server, resilient_events):
    server.refuses_recipient("gone@example.org", 550, "5.1.1 no such user")
    receipt = Email(PAIR, **server.starttls).send(FIRST, within=10)
    assert receipt == {"first_id": server.messages[0].parsed["Message-ID"]}
    assert [mail.recipients for mail in server.messages] == [("ops@example.org",)]
    (event,) = resilient_events.named("notify.failed")
    assert event.channel == "email:ops@example.org,gone@example.org"
    assert event.message.endswith("refused gone@example.org: 550 5.1.1 no such user; accepted for ops@example.org")


def test_only_a_recipient_refused_for_now_is_sent_the_mail_again(server, resilient_events):
    server.refuses_recipient("gone@example.org", 451)
    channel = Email(PAIR, **server.starttls)
    for _ in range(2):
        with pytest.raises(EmailRefusedError, match=r"gone@example\.org: 451 .*; accepted for ops@example\.org") as one:
            channel.send(FIRST, within=10)
        assert classify(one.value) is Kind.TRANSIENT
    server.refuses_recipient("gone@example.org", 250)
    pickle.loads(pickle.dumps(channel)).send(FIRST, within=10)  # a channel elsewhere goes by the same store
    assert [mail.recipients for mail in server.messages] == [("ops@example.org",), ("gone@example.org",)]
    assert len({mail.parsed["Message-ID"] for mail in server.messages}) == 1
    assert resilient_events.named("notify.failed") == []
    channel.send(DIGEST, within=10)
    assert server.messages[-1].recipients == tuple(PAIR)


def test_without_a_store_all_recipients_get_the_mail_again_with_the_same_id(server, monkeypatch):
    def away():
        raise StoreUnavailable("gone")

    monkeypatch.setattr(incident_store, "states", away)
    server.refuses_recipient("gone@example.org", 451)
    for _ in range(2):
        with pytest.raises(EmailRefusedError, match="451"):
            Email(PAIR, **server.starttls).send(FIRST, within=10)
    first, again = server.messages
    assert first.recipients == again.recipients == ("ops@example.org",)
    assert first.raw == again.raw


def test_a_recipient_that_turns_out_to_be_unknown_is_not_tried_again(server, resilient_events):
    server.refuses_recipient("gone@example.org", 451)
    channel = Email(PAIR, **server.starttls)
    with pytest.raises(EmailRefusedError):
        channel.send(FIRST, within=10)
    server.refuses_recipient("gone@example.org", 550)
    channel.send(FIRST, within=10)
    assert [mail.recipients for mail in server.messages] == [("ops@example.org",)]
    assert len(resilient_events.named("notify.failed")) == 1


@pytest.mark.parametrize(
    ("codes", "kind"), [((550, 550), Kind.PERMANENT), ((550, 451), Kind.TRANSIENT), ((451, 451), Kind.TRANSIENT)]
)
def test_if_no_recipient_is_accepted_the_message_was_not_sent(server, codes, kind):
    for recipient, code in zip(PAIR, codes, strict=True):
        server.refuses_recipient(recipient, code)
    with pytest.raises(EmailRefusedError) as caught:
        Email(PAIR, **server.starttls).send(FIRST, within=10)
    assert classify(caught.value) is kind
    assert caught.value.recipients.keys() == set(PAIR)
    assert server.messages == []


# --- servers that are slow, gone or forgetful --------------------------------------------------------------------


@pytest.mark.parametrize("way", ["starttls", "tls"])
@pytest.mark.parametrize("fault", ["hangs", "drips"])
def test_a_silent_or_very_slow_server_is_abandoned_at_the_deadline(server, fault, way):
    if fault == "hangs":
        server.hangs(30)
    else:
        server.drips(1)  # the greeting alone takes half a minute
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        Email("ops@example.org", **getattr(server, way)).send(FIRST, within=0.5)
    assert 0.3 < time.monotonic() - began < 20
    assert classify(caught.value) is Kind.TIMEOUT
    assert server.messages == []


def test_a_server_that_refuses_connections_is_transient(server):
    with server.offline(), pytest.raises(ConnectionRefusedError) as caught:
        sent(server, FIRST, port=server.port, ca=None)
    assert classify(caught.value) is Kind.TRANSIENT


@pytest.mark.parametrize("way", ["starttls", "tls"])
def test_a_server_that_does_not_confirm_gets_the_same_mail_again(server, way):
    channel = Email("ops@example.org", **getattr(server, way))
    server.vanishes()
    with pytest.raises(ConnectionError, match="closed the connection before it had accepted") as caught:
        channel.send(FIRST, within=10)
    assert classify(caught.value) is Kind.TRANSIENT
    channel.send(FIRST, within=10)
    before, after = server.messages
    assert before.parsed["Message-ID"] == after.parsed["Message-ID"]


def test_an_error_after_the_mail_was_accepted_is_no_failure(server, monkeypatch):
    def leave(self):
        raise smtplib.SMTPServerDisconnected("gone")

    monkeypatch.setattr(smtplib.SMTP, "quit", leave)
    sent(server, FIRST)
    assert len(server.messages) == 1


def test_a_name_that_does_not_resolve_is_transient(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror) as caught:
        Email("ops@example.org", "mail.example.org").send(FIRST, within=5)
    assert classify(caught.value) is Kind.TRANSIENT


def test_this_machines_own_name_is_found_without_dns(certified, monkeypatch):
    def slow(*args):
        raise AssertionError("this takes seconds where the DNS is broken")

    monkeypatch.setattr(socket, "getfqdn", slow)
    monkeypatch.setattr(socket, "gethostbyname", slow)
    assert sent(certified, FIRST).secure


@pytest.mark.parametrize(
    ("hostname", "own", "greeting"),
    [
        ("worker-3.example.org", ("10.0.0.7", 1), "worker-3.example.org"),
        ("worker-3", ("10.0.0.7", 1), "[10.0.0.7]"),
        ("localhost.", ("10.0.0.7", 1), "[10.0.0.7]"),
        ("größe.example", ("10.0.0.7", 1), "[10.0.0.7]"),
        ("worker-3", ("fd00::7", 1, 0, 0), "[IPv6:fd00::7]"),
    ],
)
def test_a_client_greets_with_a_name_or_with_its_address(monkeypatch, hostname, own, greeting):
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    assert _own_name(SimpleNamespace(getsockname=lambda: own)) == greeting


def test_no_time_left_is_a_timeout(server):
    with pytest.raises(TimeoutError):
        Email("ops@example.org", **server.starttls).send(FIRST, within=0)
    assert server.connections == 0


# --- through the outbox ------------------------------------------------------------------------------------------


@pytest.fixture
def alerted(server, resilient_clock, at_once, resilient_events):
    """A function that fails a given number of times, with alerts by e-mail."""

    def fetch():
        if fetch.failing:
            raise ConnectionError("down")

    fetch.failing = True
    call = resilient(notify=Email("ops@example.org", **server.starttls))(fetch)
    return SimpleNamespace(call=call, fetch=fetch, clock=resilient_clock, events=resilient_events)


def test_the_outbox_resends_what_was_refused_for_now_or_not_confirmed(alerted, server):
    server.refuses(451)
    server.vanishes()
    alerted.call.outcome()
    assert flush_messages(20)
    assert server.connections == 3
    before, after = server.messages
    assert before.raw == after.raw
    assert len(alerted.events.named("notify.failed")) == 2
    assert len(alerted.events.named("notify.sent")) == 1


def test_first_digest_and_recovery_are_one_thread_across_processes(alerted, server):
    for _ in range(4):
        alerted.call.outcome()
    assert flush_messages(20)
    alerted.clock.advance(300)
    assert flush_messages(20)
    alerted.fetch.failing = False
    alerted.call.outcome()
    assert flush_messages(20)
    first, digest, recovered = map(headers, server.messages)
    assert digest["References"] == recovered["References"] == first["Message-ID"]
    assert {digest["Subject"], recovered["Subject"]} == {"Re: fetch failed: ConnectionError"}
    assert "3 more" in server.messages[1].text
    assert "fetch works again" in server.messages[2].text


def test_a_server_that_never_answers_delays_no_task_and_loses_nothing(alerted, server, own_settings):
    alerted.call.outcome()  # imports, and the first connection
    assert flush_messages(20)
    own_settings(notify_deadline=2)
    alerted.clock.advance(1e6)
    server.hangs(60)
    alerted.call.outcome()
    assert not alerted.events.named("notify.failed"), "it waited until the delivery was given up"
    assert flush_messages(20)
    assert server.connections == 3
    assert len(server.messages) == 2
    (failed,) = alerted.events.named("notify.failed")
    assert failed.error_type == "TimeoutError"


# --- secrets -----------------------------------------------------------------------------------------------------


def test_a_secret_is_in_no_repr_and_in_no_log(server, caplog):
    caplog.set_level(logging.DEBUG)
    channel = Email("ops@example.org", **server.starttls)
    channel.send(FIRST, within=10)
    server.refuses(535, at="auth")
    with pytest.raises(EmailRefusedError) as caught:
        channel.send(FIRST, within=10)
    for shown in (repr(channel), str(channel), channel.name, repr(caught.value), caplog.text):
        assert server.password not in shown


@pytest.mark.parametrize("crosses", [pickle, cloudpickle])
def test_a_channel_crosses_to_another_process(server, crosses):
    channel = crosses.loads(crosses.dumps(Email(PAIR, **server.starttls)))
    channel.send(FIRST, within=10)
    assert len(server.messages) == 1
    assert isinstance(channel, Channel)


def test_the_password_may_be_in_the_environment(server, monkeypatch):
    options = {**server.starttls, "password": None}
    channel = Email("ops@example.org", **options)
    with pytest.raises(PolicyError, match="SMTP_PASSWORD"):
        channel.send(FIRST, within=10)
    monkeypatch.setenv("SMTP_PASSWORD", server.password)
    channel.send(FIRST, within=10)
    assert len(server.messages) == 1


def test_a_password_that_smtplib_cannot_send_is_an_error_that_does_not_show_it(server):
    with pytest.raises(PolicyError, match="ASCII") as caught:
        sent(server, FIRST, password="geheim-ü")
    assert "geheim" not in str(caught.value)


def test_a_password_is_read_when_a_message_is_sent_and_not_before(server):
    asked = []

    class Vault:
        def get_secret_value(self):
            asked.append(1)
            return server.password

    channel = Email("ops@example.org", **(server.starttls | {"password": Vault()}))
    repr(channel), copy.copy(channel)
    assert asked == []
    channel.send(FIRST, within=10)
    assert asked == [1]


class Block:
    """The attributes of `EmailServerCredentials` of prefect-email 0.4, which is not installed with the tests."""

    def __init__(self, server, **changed):
        self.username, self.password = server.username, SecretStr(server.password)
        self.smtp_server, self.smtp_port = SimpleNamespace(value=server.host), server.tls_port
        self.smtp_type, self.verify = SimpleNamespace(name="SSL", value=465), True
        vars(self).update(changed)


def test_a_block_of_prefect_email_brings_the_server_and_the_login(server):
    Email("ops@example.org", credentials=Block(server), ca=server.ca).send(FIRST, within=10)
    text = Block(server, smtp_server=server.host, smtp_type="STARTTLS", smtp_port=server.port)
    Email("ops@example.org", credentials=text, ca=server.ca).send(FIRST, within=10)
    assert [mail.user for mail in server.messages] == [server.username] * 2


def test_a_block_may_leave_out_the_port_and_the_login(server):
    usual = Email("ops@example.org", credentials=Block(server, smtp_port=None))
    assert (usual.port, usual.security) == (465, "tls")
    open_relay = Block(server, smtp_port=None, smtp_type="INSECURE", username=None, password=SecretStr(""))
    relay = Email("ops@example.org", credentials=open_relay)
    assert (relay.port, relay.security, relay.username) == (25, "none", None)
    assert server.password not in repr(usual)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"verify": False}, "always verifies the server's certificate"),
        ({"smtp_type": "SOMETHING"}, "knows the smtp_type"),
        ({"smtp_type": "INSECURE"}, "no password unencrypted"),
    ],
)
def test_a_block_that_would_be_unsafe_is_refused(server, changed, text):
    with pytest.raises(PolicyError, match=text):
        Email("ops@example.org", credentials=Block(server, **(changed | {"smtp_port": None})))


# --- what is refused at once -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"to": []}, "at least one address"),
        ({"to": ""}, "takes addresses such as"),
        ({"to": 7}, "one address or several, not int"),
        ({"to": [None]}, "takes addresses such as .* not None"),
        ({"to": "ops"}, "takes addresses such as"),
        ({"to": "@example.org"}, "takes addresses such as"),
        ({"to": "ops@"}, "takes addresses such as"),
        ({"to": "o ps@example.org"}, "takes addresses such as"),
        ({"to": "a@example.org, b@example.org"}, "several as a list"),
        ({"to": "ops@example.org\nBcc: all@example.org"}, "line break"),
        ({"to": "=?utf-8?q?ops=0D=0ABcc=3A_all=40example.org?= <ops@example.org>"}, "takes addresses such as"),
        ({"to": "=?utf-8?q?ops=E2=80=A8?= <ops@example.org>"}, "control character"),
        ({"to": "ops@bücher.example"}, "xn--"),
        ({"sender": "ops@example.org\r\nBcc: all@example.org"}, r"sender=.*line break"),
        ({"sender": "robot"}, "sender"),
        ({"host": None}, "needs the mail server"),
        ({"host": ""}, "needs the mail server"),
        ({"host": "smtp://mail.example.org"}, "a server's name such as"),
        ({"host": "mail.example.org:587"}, "write the port"),
        ({"host": "mail.example.org\n"}, "a server's name such as"),
        ({"port": 0}, "1 to 65535"),
        ({"port": "587"}, "1 to 65535, not '587'"),
        ({"port": True}, "1 to 65535"),
        ({"security": "ssl"}, "'starttls', 'tls', 'none', not 'ssl'"),
        ({"port": 465, "security": "starttls"}, "port=587"),
        ({"port": 465, "security": "none"}, "port 465 uses TLS"),
        ({"port": 587, "security": "tls"}, "port=465"),
        ({"password": "secret"}, "needs username="),
        ({"username": "u", "password": 7}, r"password=\.\.\.\): a secret is text"),
        ({"username": "u", "password": "p", "security": "none"}, "no password unencrypted"),
        ({"security": "none", "ca": "ca.pem"}, "no effect"),
        ({"credentials": object()}, "credentials= or host=, not both"),
        ({"host": None, "credentials": object()}, "EmailServerCredentials, not object"),
    ],
)
def test_invalid_options_are_refused_with_an_explanation(options, text):
    with pytest.raises(PolicyError, match=text):
        Email(**({"to": "ops@example.org", "host": "mail.example.org"} | options))


def test_a_block_that_was_not_awaited_is_recognised():
    async def load():
        """As a block's load() in a flow that is async."""

    coroutine = load()
    with pytest.raises(PolicyError, match="await"):
        Email("ops@example.org", credentials=coroutine)
    coroutine.close()


@pytest.mark.parametrize(
    ("options", "port", "security"),
    [
        ({}, 587, "starttls"),
        ({"port": 465}, 465, "tls"),
        ({"port": 2525}, 2525, "starttls"),
        ({"security": "tls"}, 465, "tls"),
        ({"security": "none"}, 25, "none"),
        ({"host": "::1", "port": 25}, 25, "starttls"),
    ],
)
def test_port_and_security_follow_from_each_other(options, port, security):
    channel = Email(**({"to": "ops@example.org", "host": "mail.example.org"} | options))
    assert (channel.port, channel.security) == (port, security)


@pytest.mark.parametrize(
    ("options", "sender"),
    [
        ({}, "resilient-tasks@example.org"),
        ({"username": "bot@example.com"}, "bot@example.com"),
        ({"username": "bot"}, "resilient-tasks@example.org"),
        ({"username": "bot@example.com", "sender": "Alerts <a@example.net>"}, "Alerts <a@example.net>"),
    ],
)
def test_the_default_sender_depends_on_the_username_and_the_recipients(options, sender):
    assert Email(["ops@Example.org", "x@y.z"], "mail.example.org", **options).sender == sender


def test_the_name_is_that_of_the_recipients():
    channel = Email(("Ops <ops@example.org>", "ml@example.org"), "mail.example.org", username="u", password="secret")
    assert channel.name == "email:ops@example.org,ml@example.org"


def test_raw_mail_is_readable(certified):
    """The fixture's own reading is not what the other tests rest on."""
    mail = sent(certified, FIRST)
    assert message_from_bytes(mail.raw, policy=default).defects == []
    assert "smtplib" in sys.modules
