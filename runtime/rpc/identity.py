"""Who this process is to the others: its certificate, its token key, and whom it believes."""

import datetime as dt
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import grpc
import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from runtime.clock import Clock, SystemClock
from runtime.errors import ConfigError
from runtime.logs import log_event
from runtime.rpc.certificates import dns_names, is_issued_by, key_fits, read_certificates, service_name, services_of
from runtime.rpc.settings import FILES, RpcSettings
from runtime.rpc.tokens import Jwks, TokenSigner, TokenVerifier

_log = logging.getLogger("lodepool.rpc")

WARN_BEFORE_S: Final = 30 * 86_400
"""A certificate that expires sooner is named in the log, once a day."""
ERROR_BEFORE_S: Final = 3 * 86_400
"""A certificate that expires sooner is an error."""
RELOAD_S: Final = 1.0
"""How often the files are looked at, at most."""

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """What the files said at one moment, checked."""

    files: "_Files"
    expires_s: float
    signer: TokenSigner
    verifier: TokenVerifier


class Identity:
    """A service's name, certificate and token key.

    The files are read again when they change: `refresh` is called by whoever uses the identity. What cannot be used
    is named in the log, and what was read before stays in force.

    Args:
        settings: Where the files lie; all must be set.
        service: The service's name.
        clock: The time.

    Raises:
        ConfigError: When the files cannot be used, with the setting's path.

    Attributes:
        service: As above.
        generation: Grows each time other files were taken over.
    """

    def __init__(self, settings: RpcSettings, service: str, *, clock: Clock) -> None:
        self.service = service
        self.generation = 1
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._material = _check(_read_all(settings), settings, service, clock)
        self._refused = ""
        self._looked_s = clock.monotonic_s()
        self._warned_s: float | None = None
        self._warn_of_expiry()

    @property
    def expires_s(self) -> float:
        """Return when the certificate expires, seconds since the Unix epoch."""
        return self._material.expires_s

    def refresh(self) -> int:
        """Look at the files if that was not done a moment ago, take over what is new, and return `generation`.

        May be called from any thread; costs nothing when called often.
        """
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_s >= RELOAD_S and self._lock.acquire(blocking=False):
            try:
                self._looked_s = now_s
                self._take_over()
                self._warn_of_expiry()
            finally:
                self._lock.release()
        return self.generation

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return what a client shows and expects."""
        files = self._material.files
        return grpc.ssl_channel_credentials(files["ca_file"], files["key_file"], files["cert_file"])

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return what a server shows and expects: a certificate of our authority, from everybody.

        New files are taken over at the next connection.
        """
        given = self.generation

        def configuration() -> grpc.ServerCertificateConfiguration:
            files = self._material.files
            pairs = [(files["key_file"], files["cert_file"])]
            return grpc.ssl_server_certificate_configuration(pairs, root_certificates=files["ca_file"])

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            generation = self.refresh()
            if generation == given:
                return None
            given = generation
            return configuration()

        return grpc.dynamic_ssl_server_credentials(
            configuration(),
            fetch,  # type: ignore[arg-type]  # None means unchanged, says grpc's documentation
            require_client_authentication=True,
        )

    def token_for(self, service: str) -> str:
        """Return a token that proves to a service who we are."""
        return self._material.signer.token_for(service)

    def verify(self, token: str) -> str:
        """Return the service that made a token for us.

        Raises:
            TokenRefused: When it proves nothing.
        """
        self.refresh()
        return self._material.verifier.verify(token)

    def _take_over(self) -> None:
        try:
            files = _read_all(self._settings)
            if files == self._material.files:
                self._refused = ""
                return
            self._material = _check(files, self._settings, self.service, self._clock)
        except ConfigError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log_event(_log, logging.WARNING, "new certificate files refused, the old ones stay", error=str(error))
            return
        self._refused = ""
        self._warned_s = None
        self.generation += 1
        log_event(_log, logging.INFO, "certificate files taken over", service=self.service)

    def _warn_of_expiry(self) -> None:
        now_s = self._clock.monotonic_s()
        left_s = self._material.expires_s - self._clock.now_s()
        if left_s >= WARN_BEFORE_S or (self._warned_s is not None and now_s - self._warned_s < _DAY_S):
            return
        self._warned_s = now_s
        level = logging.ERROR if left_s < ERROR_BEFORE_S else logging.WARNING
        until = dt.datetime.fromtimestamp(self._material.expires_s, dt.UTC).isoformat(timespec="seconds")
        log_event(_log, level, "certificate expires soon", file=self._settings.cert_file, until=until)


def load_identity(settings: RpcSettings, service: str, *, clock: Clock | None = None) -> Identity | None:
    """Return a service's identity; None when no certificates are configured.

    Args:
        settings: Where the files lie.
        service: The service's name.
        clock: The time; None means that of the machine.

    Raises:
        ConfigError: When a file is missing, cannot be read or is not PEM; when the certificate has expired, is not
            valid yet, belongs to another service or is not of the authority; when a key does not fit.
    """
    if not settings.is_secure:
        return None
    return Identity(settings, service, clock=clock or SystemClock())


_Files: TypeAlias = dict[str, bytes]
"""Field of `RpcSettings` → content of the file."""


def _read_all(settings: RpcSettings) -> _Files:
    files = {}
    for name in FILES:
        path = getattr(settings, name)
        try:
            files[name] = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"rpc.{name}", f"{path}: {error.strerror}", "a readable file") from None
    return files


def _check(files: _Files, settings: RpcSettings, service: str, clock: Clock) -> _Material:
    """Return what the files say, if it can be used.

    Raises:
        ConfigError: When it cannot.
    """
    authorities = _certificates(files["ca_file"], "ca_file", settings)
    chain = _certificates(files["cert_file"], "cert_file", settings)
    key = _private_key(files["key_file"], "key_file", settings)
    _check_certificate(chain, settings.cert_file, service, clock)
    if not is_issued_by(chain, authorities):
        raise ConfigError(
            "rpc.cert_file", f"{settings.cert_file} is not of the authority in {settings.ca_file}", "one that it signed"
        )
    if not key_fits(key, chain[0]):
        raise ConfigError("rpc.key_file", f"{settings.key_file} is not the key of {settings.cert_file}")
    token_key = _private_key(files["token_key_file"], "token_key_file", settings)
    if not isinstance(token_key, Ed25519PrivateKey):
        raise ConfigError("rpc.token_key_file", f"{settings.token_key_file} is another kind of key", "an Ed25519 key")
    verifier = _verifier(files["token_keys_file"], settings, service, clock)
    if not verifier.knows(service, token_key.public_key()):
        raise ConfigError(
            "rpc.token_key_file", f"the public key of {settings.token_key_file} is not in {settings.token_keys_file}"
        )
    return _Material(
        files=files,
        expires_s=chain[0].not_valid_after_utc.timestamp(),
        signer=TokenSigner(service, token_key, now_s=clock.now_s),
        verifier=verifier,
    )


def _certificates(pem: bytes, name: str, settings: RpcSettings) -> list[x509.Certificate]:
    try:
        return read_certificates(pem)
    except ValueError:
        raise ConfigError(f"rpc.{name}", f"{getattr(settings, name)} holds no certificate", "a PEM file") from None


def _private_key(pem: bytes, name: str, settings: RpcSettings) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        problem = f"{getattr(settings, name)} holds no private key"
        raise ConfigError(f"rpc.{name}", problem, "a PEM file without a password") from None


def _check_certificate(chain: list[x509.Certificate], path: str, service: str, clock: Clock) -> None:
    names = dns_names(chain[0])
    if service not in services_of(names):
        shown = ", ".join(names) or "nobody"
        raise ConfigError("rpc.cert_file", f"{path} is the certificate of {shown}", service_name(service))
    now = dt.datetime.fromtimestamp(clock.now_s(), dt.UTC)
    for certificate in chain:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now >= end:
            raise ConfigError("rpc.cert_file", f"{path} has expired on {end:%Y-%m-%d %H:%M} UTC", "a valid one")
        if now < begin:
            raise ConfigError("rpc.cert_file", f"{path} is not valid before {begin:%Y-%m-%d %H:%M} UTC", "a valid one")


def _verifier(data: bytes, settings: RpcSettings, service: str, clock: Clock) -> TokenVerifier:
    try:
        keys = msgspec.json.decode(data, type=Jwks).keys
        return TokenVerifier(service, keys, now_s=clock.now_s)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError("rpc.token_keys_file", f"{settings.token_keys_file}: {error}", "a JSON Web Key Set") from None
