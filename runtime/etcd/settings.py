"""How to reach etcd, and how careful to be about time."""

import ipaddress
from pathlib import Path
from typing import Annotated

import msgspec

from runtime.errors import ConfigError

_PORT_MAX = 65535


class EtcdSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[etcd]` section.

    Attributes:
        endpoints: "host:port" of the members; names are resolved to IPv4 addresses.
        cluster: Name of the installation; everything lies under "/lodepool/<cluster>/".
        ca_file: PEM of the authority that signed the members' certificates; setting it turns TLS on.
        cert_file: PEM of our certificate; its common name is the user for etcd's roles.
        key_file: PEM of the certificate's private key.
        tls_server_name: Name to expect in the members' certificates; empty means the name in the endpoint.
        request_timeout_s: Limit of one call, over all members.
        attempt_timeout_s: Limit of one try at one member; a silent member costs this much.
        probe_s: How often a watch checks that it has missed nothing.
        lease_ttl_s: How long etcd remembers a process that has gone silent.
        clock_margin_s: How much clocks of two hosts may differ in what they measure during one lease; a holder stops
            this much before its lease ends, and nobody takes over until this much after.
    """

    endpoints: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=16)] = ("127.0.0.1:2379",)
    cluster: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] = "main"
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    tls_server_name: str = ""
    request_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    attempt_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=30)] = 1.0
    probe_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0
    lease_ttl_s: Annotated[int, msgspec.Meta(ge=2, le=600)] = 10
    clock_margin_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 1.0

    @property
    def root(self) -> str:
        """Return the prefix of all our keys, with a slash at its end."""
        return f"/lodepool/{self.cluster}/"


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel needs for TLS, in PEM.

    Attributes:
        authority: The certificate authority.
        certificate: Our certificate chain, None without client authentication.
        private_key: Its key, None without client authentication.
    """

    authority: bytes
    certificate: bytes | None
    private_key: bytes | None


def split_endpoint(endpoint: str, *, path: str = "etcd.endpoints") -> tuple[str, int]:
    """Return host and port of "host:port".

    Raises:
        ConfigError: When it is something else, naming the setting's `path`.
    """
    host, colon, port_text = endpoint.rpartition(":")
    port = int(port_text) if port_text.isascii() and port_text.isdigit() else 0
    if not colon or not host or not 0 < port <= _PORT_MAX or "/" in host or ":" in host:
        raise ConfigError(path, f'"{endpoint}" is not an endpoint', "host:port, without https://")
    return host, port


def is_ipv4(host: str) -> bool:
    """Return whether the host is an IPv4 address and not a name."""
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def read_tls_files(settings: EtcdSettings) -> TlsFiles | None:
    """Read the certificates; None when TLS is not configured.

    Raises:
        ConfigError: When only some of the files are named, or one cannot be read.
    """
    if not settings.ca_file:
        if settings.cert_file or settings.key_file:
            raise ConfigError("etcd.ca_file", "is missing", "the file of the authority, since a certificate is set")
        return None
    if bool(settings.cert_file) != bool(settings.key_file):
        name = "etcd.key_file" if settings.cert_file else "etcd.cert_file"
        raise ConfigError(name, "is missing", "both cert_file and key_file, or none of them")
    return TlsFiles(
        authority=_read(settings.ca_file, "etcd.ca_file"),
        certificate=_read(settings.cert_file, "etcd.cert_file") if settings.cert_file else None,
        private_key=_read(settings.key_file, "etcd.key_file") if settings.key_file else None,
    )


def _read(name: str, path: str) -> bytes:
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(path, f"{name}: {error.strerror}", "a readable PEM file") from None
    if b"-----BEGIN" not in data:
        raise ConfigError(path, f"{name} is not PEM", "a text with -----BEGIN")
    return data
