"""The mail server, with the standard library's client."""

import contextlib
import email
import smtplib
import socket
import ssl
import sys
import threading
import time

import pytest

from resilient_tasks.testing import MailServer

MAIL = b"Subject: hello\r\nFrom: a@example.org\r\n\r\nfirst\r\n.\r\n..second\r\n"


@pytest.fixture
def server():
    with MailServer() as server:
        yield server


def connected(server, *, tls=False, login=True, encrypt=True):
    """A client, ready to send."""
    context = ssl.create_default_context(cafile=server.ca)
    if tls:
        client = smtplib.SMTP_SSL(server.host, server.tls_port, local_hostname="client", timeout=5, context=context)
    else:
        client = smtplib.SMTP(server.host, server.port, local_hostname="client", timeout=5)
        if encrypt:
            client.starttls(context=context)
    if login:
        client.login(server.username, server.password)
    return client


def refusal(call, *args):
    with pytest.raises(smtplib.SMTPResponseException) as caught:
        call(*args)
    return caught.value.smtp_code


# --- accepting mail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["starttls", "smtps"])
def test_mail_is_stored_as_received(server, tls):
    with connected(server, tls=tls) as client:
        assert client.sendmail("a@example.org", ["b@example.org", "c@example.org"], MAIL) == {}
        assert client.sendmail("a@example.org", ["d@example.org"], MAIL) == {}
    first, second = server.messages
    assert first.raw == MAIL
    assert (first.sender, first.recipients) == ("a@example.org", ("b@example.org", "c@example.org"))
    assert second.recipients == ("d@example.org",)
    assert (first.secure, first.user) == (True, server.username)
    assert (first.subject, first.text, first.html) == ("hello", "first\n.\n..second\n", "")
    assert "second" not in repr(first)
    assert server.connections == 1


def test_both_login_mechanisms_work(server):
    for method in ("PLAIN", "LOGIN"):
        for at_once in (True, False):
            with connected(server, login=False) as client:
                client.ehlo()
                client.user, client.password = server.username, server.password
                speak = client.auth_plain if method == "PLAIN" else client.auth_login
                assert client.auth(method, speak, initial_response_ok=at_once)[0] == 235


def test_a_wrong_login_and_mail_without_a_login_are_refused(server):
    with connected(server, login=False) as client:
        assert refusal(client.login, server.username, "wrong") == 535
        assert refusal(client.login, "someone", server.password) == 535
        assert refusal(client.sendmail, "a@example.org", ["b@example.org"], MAIL) == 530
    assert server.messages == []


def test_a_login_without_tls_is_refused(server):
    with connected(server, login=False, encrypt=False) as client:
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN AGEAYg==")[0] == 538


def test_a_relay_accepts_mail_without_a_login():
    with MailServer(auth=False) as server:
        assert "username" not in server.starttls
        with connected(server, login=False, encrypt=False) as client:
            client.sendmail("", ["b@example.org"], MAIL)
        assert [(mail.secure, mail.user, mail.sender) for mail in server.messages] == [(False, None, "")]


def test_starttls_resets_the_session():
    with MailServer(auth=False) as server, connected(server, login=False, encrypt=False) as client:
        client.ehlo()
        client.mail("a@example.org")
        client.starttls(context=ssl.create_default_context(cafile=server.ca))
        assert client.docmd("MAIL", "FROM:<a@example.org>") == (503, b"Error: send HELO first")
        client.ehlo()
        assert client.docmd("RCPT", "TO:<b@example.org>")[0] == 503


def test_commands_out_of_order_and_unknown_ones_are_refused(server):
    with connected(server) as client:
        for command, code in [
            ("RCPT TO:<b@example.org>", 503),
            ("DATA", 503),
            ("STARTTLS", 503),
            ("AUTH PLAIN x", 503),
            ("MAIL TO:<a@example.org>", 501),
            ("MAIL FROM:<a@example.org>", 250),
            ("MAIL FROM:<a@example.org>", 503),
            ("RCPT b@example.org", 501),
            ("DATA", 503),
            ("NOOP", 250),
            ("RSET", 250),
            ("HELO again", 250),
            ("BDAT 7", 500),
            ("", 500),
        ]:
            assert client.docmd(command)[0] == code, command
    with connected(server, login=False) as client:
        client.ehlo()
        for command, code in [("AUTH OAUTH2 x", 504), ("AUTH PLAIN !", 501), ("AUTH PLAIN eA==", 501)]:
            assert client.docmd(command)[0] == code, command
        assert client.docmd("AUTH", "LOGIN")[0] == 334
        assert client.docmd("*")[0] == 501


def test_a_bare_line_feed_around_a_dot_does_not_end_the_mail(server):
    smuggled = b"Subject: one\r\n\r\nend\n.\r\nMAIL FROM:<evil@example.org>\r\n"
    with connected(server) as client:
        client.mail("a@example.org")
        client.rcpt("b@example.org")
        client.docmd("DATA")
        client.send(smuggled + b".\r\n")
        assert client.getreply()[0] == 250
    assert [mail.raw for mail in server.messages] == [smuggled]


def test_mail_larger_than_announced_is_refused(server):
    with connected(server) as client:
        client.ehlo()
        large = b"x" * 70 + b"\r\n"
        count = int(client.esmtp_features["size"]) // len(large) + 1
        assert refusal(client.sendmail, "a@example.org", ["b@example.org"], large * count) == 552
        client.sendmail("a@example.org", ["b@example.org"], MAIL)
    assert len(server.messages) == 1


def test_the_certificate_is_good_for_this_server_alone(server):
    for trusted in (None, "another"):
        with MailServer() as another:
            context = ssl.create_default_context(cafile=another.ca if trusted else None)
            with pytest.raises(ssl.SSLCertVerificationError):
                smtplib.SMTP_SSL(server.host, server.tls_port, timeout=5, context=context)
    context = ssl.create_default_context(cafile=server.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # Python 3.13's default
    smtplib.SMTP_SSL("localhost", server.tls_port, local_hostname="client", timeout=5, context=context).quit()


# --- failing on request ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("connect", smtplib.SMTPConnectError),
        ("starttls", smtplib.SMTPResponseException),
        ("auth", smtplib.SMTPAuthenticationError),
        ("mail", smtplib.SMTPSenderRefused),
        ("rcpt", smtplib.SMTPRecipientsRefused),
        ("data", smtplib.SMTPDataError),
        ("message", smtplib.SMTPDataError),
    ],
)
def test_each_of_the_next_connections_meets_one_refusal(server, stage, error):
    server.refuses(451, 2, at=stage, text="4.7.1 not yet")
    for _ in range(2):
        with pytest.raises(error, match=r"451.*not yet"), connected(server) as client:
            client.sendmail("a@example.org", ["b@example.org"], MAIL)
    assert server.messages == []
    with connected(server) as client:
        client.sendmail("a@example.org", ["b@example.org"], MAIL)
    assert len(server.messages) == 1
    assert server.connections == 3


def test_after_421_the_connection_is_closed(server):
    server.refuses(421, at="mail")
    client = connected(server)
    assert client.docmd("MAIL", "FROM:<a@example.org>")[0] == 421
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


def test_a_recipient_is_refused_until_it_is_accepted_again(server):
    server.refuses_recipient("b@example.org", 452)
    with connected(server) as client:
        refused = client.sendmail("a@example.org", ["b@example.org", "c@example.org"], MAIL)
        assert {address: code for address, (code, _) in refused.items()} == {"b@example.org": 452}
        server.refuses_recipient("b@example.org", 250)
        assert client.sendmail("a@example.org", ["b@example.org", "c@example.org"], MAIL) == {}
    assert [len(mail.recipients) for mail in server.messages] == [1, 2]


def test_a_server_that_vanishes_has_the_mail(server):
    server.vanishes()
    client = connected(server)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.sendmail("a@example.org", ["b@example.org"], MAIL)
    assert [mail.raw for mail in server.messages] == [MAIL]


def test_a_server_that_hangs_says_nothing_and_stops_at_once():
    before = set(threading.enumerate())
    with MailServer() as server:
        server.hangs(60)
        silent = socket.create_connection((server.host, server.port), timeout=0.1)
        with pytest.raises(TimeoutError):
            silent.recv(1)
        busy = set(threading.enumerate()) - before
        began = time.monotonic()
    assert time.monotonic() - began < 2
    silent.settimeout(5)
    assert silent.recv(1) == b""
    silent.close()
    for thread in busy:
        thread.join(5)
        assert not thread.is_alive()


def test_a_server_that_hangs_begins_no_tls(server):
    server.hangs(0)
    context = ssl.create_default_context(cafile=server.ca)
    with pytest.raises(OSError, match=r"EOF|reset|closed"):
        smtplib.SMTP_SSL(server.host, server.tls_port, timeout=5, context=context)
    assert server.connections == 1


def test_a_client_that_begins_no_tls_ends_with_the_server():
    with MailServer() as server:
        clients = [socket.create_connection((server.host, server.tls_port), timeout=5)]
        clients.append(socket.create_connection((server.host, server.port), timeout=5))
        assert clients[1].recv(100).startswith(b"220")
        clients[1].sendall(b"EHLO client\r\nSTARTTLS\r\n")
        while b"220" not in clients[1].recv(1000):
            pass
    for client in clients:
        with client:
            assert client.recv(1) == b""


def test_a_client_that_speaks_no_tls_is_disconnected_and_the_next_one_is_served(server):
    with socket.create_connection((server.host, server.tls_port), timeout=5) as client:
        client.sendall(b"EHLO client\r\n" * 10)
        with contextlib.suppress(ConnectionResetError):
            while client.recv(1000):
                pass
    connected(server, tls=True).quit()


def test_a_server_that_drips_sends_byte_by_byte(server):
    server.drips(50)
    with socket.create_connection((server.host, server.port), timeout=5) as client:
        assert client.recv(100) == b"2"
        assert client.recv(100) == b"2"


def test_idle_and_encrypted_connections_end_with_the_server():
    with MailServer() as server:
        clients = [connected(server), connected(server, tls=True)]
    for client in clients:
        client.sock.settimeout(5)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()


def test_offline_refuses_connections_and_then_accepts_them_again(server):
    ports = server.port, server.tls_port
    with server.offline():
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((server.host, port), timeout=5)
    assert (server.port, server.tls_port) == ports
    connected(server).quit()


def test_invalid_faults_are_refused(server):
    with pytest.raises(ValueError, match="not at 'quit'"):
        server.refuses(at="quit")
    with pytest.raises(ValueError, match="400 to 599, not 250"):
        server.refuses(250)
    with pytest.raises(ValueError, match="400 to 599, not 99"):
        server.refuses_recipient("b@example.org", 99)
    with pytest.raises(RuntimeError, match="already running"):
        server.start()


def test_a_server_that_never_ran_has_no_port_and_no_certificate():
    server = MailServer()
    for look in (lambda: server.port, lambda: server.tls_port, lambda: server.ca, server.offline().__enter__):
        with pytest.raises(RuntimeError, match="start it"):
            look()
    server.stop()


def test_a_stopped_server_deletes_its_certificate_and_can_be_started_again(server):
    before, port = server.ca, server.port
    server.stop()
    assert not before.exists()
    server.start()
    assert server.port == port
    connected(server).quit()


def test_without_its_packages_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)
    monkeypatch.delitem(sys.modules, "resilient_tasks.testing._certificates", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'resilient-tasks\[testing\]'"):
        MailServer().start()


def test_mail_without_a_subject_or_text_can_be_read(server):
    with connected(server) as client:
        client.sendmail("a@example.org", ["b@example.org"], b"Content-Type: application/json\r\n\r\n{}\r\n")
    (mail,) = server.messages
    assert (mail.subject, mail.text, mail.html) == ("", "", "")
    assert mail.parsed.get_content_type() == "application/json"
    assert isinstance(mail.parsed, email.message.EmailMessage)
