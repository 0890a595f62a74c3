"""Messages arrive whole and in order, and a sender learns whether they were read."""

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


def test_several_buffered_messages_are_received_one_by_one(ends):
    ours, theirs = ends
    ours.send(Message.LOG_RECORD, b"first")
    ours.send(Message.LOG_RECORD)
    ours.send(Message.RETURNED, [b"in ", memoryview(b"pieces")])
    assert [theirs.receive() for _ in range(3)] == [
        (Message.LOG_RECORD, b"first"),
        (Message.LOG_RECORD, b""),
        (Message.RETURNED, b"in pieces"),
    ]


def test_a_message_that_arrives_byte_by_byte_is_received_whole():
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


def test_descriptors_arrive_with_their_bytes_and_are_not_inheritable(ends):
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
def test_receiving_descriptors_from_a_closed_end_raises(ends, unread):
    ours, theirs = ends
    ours.send(Message.FORK, unread)
    theirs.close()
    with pytest.raises(EndedError):
        ours.receive_descriptors(4, 2)


def test_an_end_that_closes_after_it_has_read_everything_has_ended(ends):
    ours, theirs = ends
    ours.send(Message.CALL, b"abc")
    theirs.receive()
    theirs.close()
    with pytest.raises(EndedError) as info:
        ours.receive()
    assert not isinstance(info.value, UnheardError)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say so")
def test_an_end_that_closes_before_it_has_read_everything_is_unheard(ends):
    ours, theirs = ends
    ours.send(Message.CALL, b"abc")
    theirs.close()
    with pytest.raises(UnheardError):
        ours.receive()


def test_sending_to_a_closed_end_raises(ends):
    ours, theirs = ends
    theirs.close()
    with pytest.raises(UnheardError):
        ours.send(Message.CALL, b"abc")


def test_sending_and_receiving_end_at_the_time_limit(ends):
    ours, _ = ends
    with pytest.raises(LateError):
        ours.receive(time.monotonic() + 0.01)
    with pytest.raises(LateError):
        ours.send(Message.CALL, bytes(10_000_000), time.monotonic() + 0.01)


def test_a_message_that_has_arrived_is_received_after_the_time_limit(ends):
    """A parent that was stopped past its limit finds the result, and reports that it came late."""
    ours, theirs = ends
    ours.send(Message.CALL, b"abc", time.monotonic() - 1)
    assert theirs.receive(time.monotonic() - 1) == (Message.CALL, b"abc")


def test_the_rest_of_a_large_message_can_be_skipped(ends):
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


def test_an_end_that_waits_in_one_piece_receives_a_later_message():
    ours, theirs = socket.socketpair()
    sender, receiver = Channel(ours), Channel(theirs, every=None)
    timer = threading.Timer(0.01, sender.send, [Message.CALL, b"abc"])
    timer.start()
    assert receiver.receive() == (Message.CALL, b"abc")
    assert not select.select([theirs], [], [], 0)[0]
    sender.close()
    receiver.close()
