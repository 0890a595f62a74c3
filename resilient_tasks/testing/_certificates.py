"""Certificates for servers on this machine: valid, expired, for another host, or of an authority without trust."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias, get_args

import trustme

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.testing._wire import HOST

Validity: TypeAlias = Literal["valid", "expired", "other_host", "untrusted"]


class Certificate:
    """A fresh certificate for a local server: no key is stored, and a valid one does not expire during a test.

    Attributes:
        authority: The PEM file for clients to trust.
        context: TLS for the server.

    Raises:
        PolicyError: There is no such validity.
    """

    def __init__(self, validity: Validity = "valid") -> None:
        if validity not in get_args(Validity):
            kinds = ", ".join(map(repr, get_args(Validity)))
            raise PolicyError(f"a certificate is one of {kinds}, not {validity!r}")
        issuer = trustme.CA()
        trusted = trustme.CA() if validity == "untrusted" else issuer
        hosts = ("elsewhere.example",) if validity == "other_host" else ("localhost", HOST)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        begin, end = (_in_days(-2), _in_days(-1)) if validity == "expired" else (None, None)
        issuer.issue_cert(*hosts, not_before=begin, not_after=end).configure_cert(self.context)
        self._folder = TemporaryDirectory(prefix="resilient-tasks-")
        self.authority = Path(self._folder.name, "authority.pem")
        trusted.cert_pem.write_to_path(str(self.authority))

    def delete(self) -> None:
        """Delete the file."""
        self._folder.cleanup()


def _in_days(number: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=number)
