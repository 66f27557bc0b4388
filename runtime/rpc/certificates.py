"""Certificates: an authority of our own, a certificate for each service, and reading both.

A service's certificate carries the DNS name `<service>.lodepool`, whatever host it runs on, and the service as its
common name, which is the user's name for etcd. Keys are EC P-256 for TLS and Ed25519 for tokens.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DOMAIN: Final = ".lodepool"
AUTHORITY_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 365

_BACKDATE = dt.timedelta(hours=1)
"""Certificates begin an hour early, for hosts whose clocks are late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    private_key: bytes


def service_name(service: str) -> str:
    """Return the DNS name in a service's certificate."""
    return service + DOMAIN


def make_authority(name: str = "Lodepool CA", *, days: int = AUTHORITY_DAYS, now: dt.datetime | None = None) -> KeyPair:
    """Make a certificate authority that can sign services' certificates and no further authorities.

    Args:
        name: Its common name.
        days: How long it is valid.
        now: When it begins; None means now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key.public_key(), days=days, now=now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(is_authority=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return KeyPair(certificate=certificate.public_bytes(Encoding.PEM), private_key=private_pem(key))


def issue(
    authority: KeyPair,
    service: str,
    *,
    hosts: Sequence[str] = (),
    days: int = CERTIFICATE_DAYS,
    now: dt.datetime | None = None,
) -> KeyPair:
    """Make a service's certificate, for both ends of a connection.

    Args:
        authority: Who signs it.
        service: The service.
        hosts: Host names and IP addresses that stand in it besides the service's own name.
        days: How long it is valid; never longer than the authority.
        now: When it begins; None means now.

    Raises:
        ValueError: When the authority's PEM cannot be read, or has expired.
    """
    (issuer,) = read_certificates(authority.certificate)
    issuer_key = load_pem_private_key(authority.private_key, None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not an EC key")
    if not key_fits(issuer_key, issuer):
        raise ValueError("the authority's key is not that of its certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service)])
    until = issuer.not_valid_after_utc
    builder = _builder(subject, issuer.subject, key.public_key(), days=days, now=now, until=until)
    names: list[x509.GeneralName] = [x509.DNSName(service_name(service)), *map(_general_name, hosts)]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(is_authority=False), critical=True)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = builder.add_extension(issuer_id, critical=False)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    return KeyPair(certificate=certificate.public_bytes(Encoding.PEM), private_key=private_pem(key))


def make_token_key() -> bytes:
    """Make a key that signs tokens, PEM."""
    return private_pem(Ed25519PrivateKey.generate())


def private_pem(key: PrivateKeyTypes) -> bytes:
    """Return a private key as unencrypted PEM (PKCS 8)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM text, in its order.

    Raises:
        ValueError: When it holds none, or one that cannot be read.
    """
    return x509.load_pem_x509_certificates(pem)


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the host names in a certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.DNSName))


def services_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the services among the host names of a certificate."""
    return tuple(name.removesuffix(DOMAIN) for name in names if name.endswith(DOMAIN))


def key_fits(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    """Return whether a private key is that of a certificate."""
    return key.public_key() == certificate.public_key()


def is_issued_by(chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]) -> bool:
    """Return whether the first certificate leads, through the others of the chain, to one of the authorities.

    Signatures and names are checked, not times.
    """
    for index, certificate in enumerate(chain):
        if any(_is_signed_by(certificate, authority) for authority in authorities):
            return True
        if index + 1 == len(chain) or not _is_signed_by(certificate, chain[index + 1]):
            return False
    return False


def _is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    days: int,
    now: dt.datetime | None,
    until: dt.datetime | None = None,
) -> x509.CertificateBuilder:
    begin = now or dt.datetime.now(dt.UTC)
    end = begin + dt.timedelta(days=days)
    if until is not None:
        end = min(end, until)
    if end <= begin:
        raise ValueError(f"the authority's certificate has expired on {end:%Y-%m-%d}")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
