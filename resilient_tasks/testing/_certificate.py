"""Fresh certificates for each local test server: no key is stored, and none expires during a test."""

from __future__ import annotations

import datetime as dt
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, CertificateBuilder, GeneralName, KeyUsage, Name

_DAY = dt.timedelta(days=1)


def make_certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """Make an authority, and a certificate signed by it for `localhost` and an IP address.

    Args:
        folder: The folder for the files.
        address: The server's IP address.

    Returns:
        The authority's certificate, for clients to trust, and the server's key with its certificate, both PEM.
    """
    # Prefect depends on it. Imported here, so that only mail servers pay for it.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    authority, authority_key = _signed("resilient-tasks test authority")
    names: list[GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_address(address))]
    certificate, key = _signed("resilient-tasks test server", authority.subject, authority_key, names)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    trusted, served = folder / "authority.pem", folder / "server.pem"
    trusted.write_bytes(authority.public_bytes(pem))
    served.write_bytes(private + certificate.public_bytes(pem))
    return trusted, served


def _signed(
    title: str,
    issuer: Name | None = None,
    issuer_key: EllipticCurvePrivateKey | None = None,
    names: list[GeneralName] | None = None,
) -> tuple[Certificate, EllipticCurvePrivateKey]:
    """Make a key and its certificate; without an issuer, a self-signed authority."""
    from cryptography import x509  # noqa: PLC0415  # as above
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 7 * _DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(signs=issuer is None), critical=True)
    )
    signer = issuer_key or key
    # Python 3.13 rejects certificates without it.
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(by, critical=False)
    if names is not None:
        builder = _for_a_server(builder, names)
    return builder.sign(signer, hashes.SHA256()), key


def _usage(*, signs: bool) -> KeyUsage:
    from cryptography import x509  # noqa: PLC0415  # as above

    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _for_a_server(builder: CertificateBuilder, names: list[GeneralName]) -> CertificateBuilder:
    from cryptography import x509  # noqa: PLC0415  # as above
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
    )
