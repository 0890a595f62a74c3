"""Mail addresses and servers' names as users write them, refused where no mail could come of them."""

from __future__ import annotations

from email.errors import HeaderParseError
from email.headerregistry import Address
from email.policy import SMTP
from ipaddress import ip_address

from resilient_tasks.core.errors import PolicyError


def checked(text: object, name: str) -> str:
    """Return an address as a header takes it.

    Raises:
        PolicyError: `text` is not one address.
    """
    example = f"Email({name}=...) takes addresses such as 'ops@example.org' or 'Operations <ops@example.org>'"
    if not isinstance(text, str):
        msg = f"{example}, not {text!r}"
        raise PolicyError(msg)
    found = _parsed(text) if text.isprintable() else ()
    # A name may be written encoded, and hide there what would end the header.
    if not all(part.isprintable() for part in (text, *map(str, found))):
        msg = f"{example}: {text!r} holds a line break or another control character"
        raise PolicyError(msg)
    if len(found) > 1:
        msg = f"{example}: write several as a list, not {text!r}"
        raise PolicyError(msg)
    if not found or not found[0].username or not found[0].domain:
        msg = f"{example}, not {text!r}"
        raise PolicyError(msg)
    if not found[0].addr_spec.isascii():
        msg = f"{example}: few servers take {found[0].addr_spec!r}; write its domain in ASCII (xn--...)"
        raise PolicyError(msg)
    return str(found[0])


def spec(text: str) -> str:
    """Return the bare address of a checked one."""
    return _parsed(text)[0].addr_spec


def domain(text: str) -> str:
    """Return the domain of a checked address."""
    return _parsed(text)[0].domain.lower()


def check_host(host: str) -> None:
    """Refuse what is no server's name.

    Raises:
        PolicyError: as said.
    """
    if not isinstance(host, str) or not host.isprintable() or any(c in host for c in " /@"):
        msg = f"Email(host=...) is a server's name such as 'smtp.example.org', not {host!r}"
        raise PolicyError(msg)
    if ":" in host and not _is_ip(host):
        msg = f"Email(host=...) is a server's name alone: write the port of {host!r} as port="
        raise PolicyError(msg)


def _parsed(text: str) -> tuple[Address, ...]:
    try:
        header = SMTP.header_factory("To", text)
    except (HeaderParseError, IndexError, ValueError):  # what Python's parser raises for some of what is no address
        return ()
    return () if header.defects else tuple(header.addresses)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
