"""Every code of a protocol has its kind: those that are listed here, and all others are permanent."""

import errno
from types import SimpleNamespace

import pytest

from resilient_tasks import Kind, classify
from resilient_tasks.core.classification.judgement import BY_ERRNO
from tests.core.shapes import answered, shaped

TRANSIENT, TIMEOUT, THROTTLED = Kind.TRANSIENT, Kind.TIMEOUT, Kind.THROTTLED
MALFORMED, RESOURCE = Kind.MALFORMED, Kind.RESOURCE


def kinds(codes, error_of):
    """Return the kinds that are not permanent."""
    found = {code: classify(error_of(code)) for code in codes}
    return {code: kind for code, kind in found.items() if kind is not Kind.PERMANENT}


def test_of_http():
    permanent = {501, 505, 506, 508, 510, 511, 526}
    assert kinds(range(400, 600), answered) == {
        **dict.fromkeys(set(range(500, 600)) - permanent, TRANSIENT),
        **dict.fromkeys((425, 449), TRANSIENT),
        408: TIMEOUT,
        **dict.fromkeys((420, 429, 529), THROTTLED),
    }


def test_of_websockets():
    name = "websockets.exceptions.ConnectionClosedError"
    found = kinds(range(1000, 1016), lambda code: shaped(name, rcvd=SimpleNamespace(code=code)))
    assert found == dict.fromkeys((1001, 1005, 1006, 1011, 1012, 1013, 1014), TRANSIENT)


def test_of_amqp():
    name = "pika.exceptions.ConnectionClosedByBroker"
    found = kinds(range(300, 600), lambda code: shaped(name, args=(code, "text"), reply_code=code))
    assert found == dict.fromkeys((320, 506, 541), TRANSIENT)


def test_of_libcurl():
    assert kinds(range(1, 100), lambda code: shaped("pycurl.error", args=(code, "text"))) == {
        **dict.fromkeys((5, 6, 7, 16, 52, 55, 56, 92, 95), TRANSIENT),
        28: TIMEOUT,
        **dict.fromkeys((18, 23, 61), MALFORMED),
    }


def test_of_the_operating_system():
    resource = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    timeout = (errno.ETIMEDOUT, errno.ETIME)
    assert [number for number, kind in BY_ERRNO.items() if kind is RESOURCE] == [*resource]
    assert [number for number, kind in BY_ERRNO.items() if kind is TIMEOUT] == [*timeout]
    wrong = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.EINVAL, errno.EROFS, errno.ENOTDIR)
    assert not BY_ERRNO.keys() & {*wrong, errno.EISDIR, errno.ENAMETOOLONG, errno.EXDEV, errno.ELOOP, errno.EFBIG}


@pytest.mark.parametrize("code", sorted(BY_ERRNO))
def test_an_error_of_the_operating_system_has_the_kind_of_its_number(code):
    assert classify(OSError(code, "text")) is BY_ERRNO[code]


@pytest.mark.parametrize(
    ("status", "kind"), [(400, MALFORMED), (404, Kind.PERMANENT), (409, Kind.PERMANENT), (422, Kind.PERMANENT)]
)
def test_only_a_400_may_stand_for_a_response_that_the_client_could_not_parse(status, kind):
    error = shaped("acme.ResponseError", status=status)
    error.__cause__ = shaped("acme.http_exceptions.DecodeError")
    assert classify(error) is kind
