"""Messages come in the order in which they were sent, whole, and it is told how much was heard of them."""

import os
import select
import socket
import sys
import threading
import time

import pytest

from resilient_tasks.subprocess import channel
from resilient_tasks.subprocess.channel import Channel, EndedError, LateError, Message, UnheardError


@pytest.fixture
def ends():
    pair = [Channel(sock) for sock in socket.socketpair()]
    yield pair
    for end in pair:
        end.close()


def test_several_messages_that_are_there_at_once_come_one_by_one(ends):
    ours, theirs = ends
    ours.send(Message.LOG_RECORD, b"first")
    ours.send(Message.LOG_RECORD)
    ours.send(Message.RETURNED, [b"in ", memoryview(b"pieces")])
    assert [theirs.receive() for _ in range(3)] == [
        (Message.LOG_RECORD, b"first"),
        (Message.LOG_RECORD, b""),
        (Message.RETURNED, b"in pieces"),
    ]


def test_a_message_that_comes_byte_by_byte_comes_whole():
    ours, theirs = socket.socketpair()
    receiver = Channel(theirs)

    def trickle():
        for byte in channel._HEADER.pack(Message.CALL, 3) + b"abc" + channel._HEADER.pack(Message.CALL, 0):
            ours.send(bytes([byte]))
            time.sleep(0.001)

    writer = threading.Thread(target=trickle)
    writer.start()
    assert receiver.receive() == (Message.CALL, b"abc")
    assert receiver.receive() == (Message.CALL, b"")
    writer.join()
    ours.close()
    receiver.close()


def test_descriptors_come_with_the_bytes_that_are_sent_with_them_and_end_with_this_program(ends):
    ours, theirs = ends
    reading, writing = os.pipe()
    socket.send_fds(ours._sock, [b"pid"], [reading, writing])
    ours.send(Message.PRELOADED, b"after")
    data, got = theirs.receive_descriptors(3, 2)
    assert data == b"pid"
    assert theirs.receive() == (Message.PRELOADED, b"after")
    os.write(got[1], b"x")
    assert os.read(reading, 1) == b"x"
    assert sys.platform != "linux" or not any(map(os.get_inheritable, got))
    for descriptor in (reading, writing, *got):
        os.close(descriptor)


@pytest.mark.parametrize("unread", [b"", b"abc"])
def test_an_end_that_is_gone_sends_no_descriptors(ends, unread):
    ours, theirs = ends
    ours.send(Message.FORK, unread)
    theirs.close()
    with pytest.raises(EndedError):
        ours.receive_descriptors(4, 2)


def test_an_end_that_has_read_all_has_heard_all(ends):
    ours, theirs = ends
    ours.send(Message.CALL, b"abc")
    theirs.receive()
    theirs.close()
    with pytest.raises(EndedError) as info:
        ours.receive()
    assert not isinstance(info.value, UnheardError)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say so")
def test_an_end_that_closes_before_it_has_read_says_so(ends):
    ours, theirs = ends
    ours.send(Message.CALL, b"abc")
    theirs.close()
    with pytest.raises(UnheardError):
        ours.receive()


def test_nothing_can_be_sent_to_an_end_that_is_closed(ends):
    ours, theirs = ends
    theirs.close()
    with pytest.raises(UnheardError):
        ours.send(Message.CALL, b"abc")


def test_nobody_waits_past_the_moment_given(ends):
    ours, _ = ends
    with pytest.raises(LateError):
        ours.receive(time.monotonic() + 0.01)
    with pytest.raises(LateError):
        ours.send(Message.CALL, bytes(10_000_000), time.monotonic() + 0.01)


def test_what_is_there_already_is_not_late(ends):
    """A parent that was halted past its limit finds the result there, and says that it came late."""
    ours, theirs = ends
    ours.send(Message.CALL, b"abc", time.monotonic() - 1)
    assert theirs.receive(time.monotonic() - 1) == (Message.CALL, b"abc")


def test_what_is_left_of_a_large_message_can_be_skipped(ends):
    ours, theirs = ends

    def write():
        ours.send(Message.RETURNED, bytes(1_000_000))
        ours.send(Message.LOG_RECORD, b"after")

    writer = threading.Thread(target=write)
    writer.start()
    _, data = theirs.receive()
    assert len(data.read(10)) == 10
    assert data.left == 1_000_000 - 10
    data.skip()
    assert data.left == 0
    assert data.read(10) == b""
    assert theirs.receive() == (Message.LOG_RECORD, b"after")
    writer.join()


def test_an_end_that_waits_in_one_piece_reads_what_another_thread_sends_later():
    ours, theirs = socket.socketpair()
    sender, receiver = Channel(ours), Channel(theirs, every=None)
    timer = threading.Timer(0.01, sender.send, [Message.CALL, b"abc"])
    timer.start()
    assert receiver.receive() == (Message.CALL, b"abc")
    assert not select.select([theirs], [], [], 0)[0]
    sender.close()
    receiver.close()
