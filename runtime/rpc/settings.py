"""How a process's gRPC server is reached, and where its certificates lie."""

import ipaddress
from typing import Annotated, ClassVar

import msgspec


class RpcSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[rpc]` section.

    The five files belong together: all are set, or none. Without them nothing is encrypted and nobody is asked who he
    is, which is allowed on loopback only.

    Attributes:
        listen_host: Address to listen on.
        port: TCP port to listen on; 0 takes a free one.
        advertise_host: IPv4 address that other hosts reach us at; empty means `listen_host`.
        ca_file: PEM of the authorities that sign the services' certificates.
        cert_file: PEM of our certificate, followed by the authorities between it and `ca_file` if there are any.
        key_file: PEM of the certificate's private key.
        token_key_file: PEM of the Ed25519 key that signs our tokens.
        token_keys_file: The public token keys of all services, as JSON (JWKS).
        leave_s: How long new calls are still taken after a process has left the register, until its clients have
            noticed, in seconds.
        drain_s: How long running calls may take to finish when the process stops, in seconds.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset()

    listen_host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    advertise_host: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    token_key_file: str = ""
    token_keys_file: str = ""
    leave_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 5.0

    def __post_init__(self) -> None:
        missing = [name for name in FILES if not getattr(self, name)]
        if missing and len(missing) < len(FILES):
            raise ValueError(f"{', '.join(missing)} must be set, since other files are")
        if missing:
            for host in (self.listen_host, self.advertise_host or self.listen_host):
                if not is_loopback(host):
                    raise ValueError(f"without certificates only loopback may be used, not {host}")

    @property
    def is_secure(self) -> bool:
        """Return whether certificates are configured."""
        return bool(self.cert_file)


FILES = ("ca_file", "cert_file", "key_file", "token_key_file", "token_keys_file")
"""The fields of `RpcSettings` that name files."""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's loopback; names other than "localhost" are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
