"""Tokens by which a service proves to another who it is: JWT, signed with Ed25519 (EdDSA).

Each service signs its own tokens, each for one callee and one minute; everybody knows the public keys. A stolen token
is good for its one callee until it expires, and only on a connection with the caller's certificate.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TTL_S: Final = 60
"""How long a token is good for."""
LEEWAY_S: Final = 30
"""By how much the clocks of caller and callee may differ."""

_ALGORITHM = "EdDSA"
_RENEW_AFTER_S = 30
_CACHED_TOKENS_MAX = 1_000
_TOKEN_CHARS_MAX = 2_000
_KEY_BYTES = 32


class Refusal(StrEnum):
    """Why a token is refused; the value is the sentence for the caller."""

    NO_TOKEN = "the call carries no token"  # noqa: S105  a sentence
    MALFORMED_TOKEN = "the token is malformed"  # noqa: S105  a sentence
    UNKNOWN_KEY = "the token is signed with a key that is not known here"
    BAD_SIGNATURE = "the token's signature is wrong"
    FOREIGN_KEY = "the token is signed with another service's key"
    WRONG_AUDIENCE = "the token is meant for another service"
    TOKEN_EXPIRED = "the token has expired; are the clocks right?"  # noqa: S105  a sentence
    TOKEN_FROM_FUTURE = "the token was made in the future; are the clocks right?"  # noqa: S105  a sentence


class TokenRefused(Exception):
    """Raised when a token proves nothing.

    Attributes:
        refusal: Why.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class Jwk(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One public key. Source: RFC 7517, RFC 8037; `service` is ours.

    Attributes:
        service: Whose key it is.
        kid: Identifies the key; the key's thumbprint (RFC 7638).
        x: The key, base64url without padding.
        kty: Always "OKP".
        crv: Always "Ed25519".
        alg: Always "EdDSA".
        use: Always "sig".
    """

    service: str
    kid: str
    x: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = _ALGORITHM
    use: str = "sig"


class Jwks(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The public keys of all services; one service may have several, while they are being changed.

    Attributes:
        keys: The keys.
    """

    keys: tuple[Jwk, ...] = ()


def jwk_of(service: str, key: Ed25519PublicKey) -> Jwk:
    """Return a public key as it stands in the file."""
    return Jwk(service=service, kid=thumbprint(key), x=_base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw)))


def thumbprint(key: Ed25519PublicKey) -> str:
    """Return the key's id. Source: RFC 7638, RFC 8037 appendix A.3."""
    x = _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    canonical = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


class TokenSigner:
    """Makes a service's tokens; one is used for half a minute.

    Args:
        service: The service.
        key: Its private key.
        now_s: The wall clock, seconds since the Unix epoch.
    """

    def __init__(self, service: str, key: Ed25519PrivateKey, *, now_s: Callable[[], float]) -> None:
        self._service = service
        self._key = key
        self._kid = thumbprint(key.public_key())
        self._now_s = now_s
        self._made: dict[str, tuple[int, str]] = {}

    def token_for(self, audience: str) -> str:
        """Return a token for a callee that is good for at least another half minute."""
        now_s = int(self._now_s())
        made_s, token = self._made.get(audience, (0, ""))
        if not token or not 0 <= now_s - made_s < _RENEW_AFTER_S:
            token = self._sign(audience, now_s)
            self._made[audience] = (now_s, token)
        return token

    def _sign(self, audience: str, now_s: int) -> str:
        claims = {
            "iss": self._service,
            "aud": audience,
            "iat": now_s,
            "exp": now_s + TTL_S,
            "jti": secrets.token_hex(16),
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._kid})


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    iss: str
    aud: str
    iat: int
    exp: int
    jti: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _PublicKey:
    service: str
    key: Ed25519PublicKey


class TokenVerifier:
    """Knows whom a token is from.

    Args:
        audience: The service that tokens must be meant for.
        keys: The public keys of all services.
        now_s: The wall clock, seconds since the Unix epoch.

    Raises:
        ValueError: When a key is not an Ed25519 key, or two have the same id.
    """

    def __init__(self, audience: str, keys: Iterable[Jwk], *, now_s: Callable[[], float]) -> None:
        self._audience = audience
        self._now_s = now_s
        self._keys: dict[str, _PublicKey] = {}
        # Signatures that were right; whether a token is still good is asked each time.
        self._verified: dict[str, _Claims] = {}
        for jwk in keys:
            if jwk.kid in self._keys:
                raise ValueError(f"the key {jwk.kid} stands there twice")
            self._keys[jwk.kid] = _PublicKey(service=jwk.service, key=_public_key(jwk))

    def knows(self, service: str, key: Ed25519PublicKey) -> bool:
        """Return whether a key is listed as that service's."""
        found = self._keys.get(thumbprint(key))
        return found is not None and found.service == service

    def verify(self, token: str) -> str:
        """Return the service that made a token.

        Raises:
            TokenRefused: When it proves nothing here and now.
        """
        claims = self._verified.get(token)
        if claims is None:
            claims = self._decode(token)
            if len(self._verified) >= _CACHED_TOKENS_MAX:
                self._verified.clear()
            self._verified[token] = claims
        now_s = self._now_s()
        if now_s >= claims.exp + LEEWAY_S:
            raise TokenRefused(Refusal.TOKEN_EXPIRED)
        if claims.iat > now_s + LEEWAY_S:
            raise TokenRefused(Refusal.TOKEN_FROM_FUTURE)
        return claims.iss

    def _decode(self, token: str) -> _Claims:
        if not token:
            raise TokenRefused(Refusal.NO_TOKEN)
        if len(token) > _TOKEN_CHARS_MAX:
            raise TokenRefused(Refusal.MALFORMED_TOKEN)
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            if header.get("alg") != _ALGORITHM or not isinstance(kid, str):
                raise TokenRefused(Refusal.MALFORMED_TOKEN)
            found = self._keys.get(kid)
            if found is None:
                raise TokenRefused(Refusal.UNKNOWN_KEY)
            # Only the signature is the library's business; the claims are checked here, by a clock that tests can set.
            payload = jwt.decode(token, found.key, algorithms=[_ALGORITHM], options=_SIGNATURE_ONLY)
            claims = msgspec.convert(payload, _Claims, strict=True)
        except jwt.InvalidSignatureError:
            raise TokenRefused(Refusal.BAD_SIGNATURE) from None
        except (jwt.PyJWTError, msgspec.ValidationError):
            raise TokenRefused(Refusal.MALFORMED_TOKEN) from None
        if claims.iss != found.service:
            raise TokenRefused(Refusal.FOREIGN_KEY)
        if claims.aud != self._audience:
            raise TokenRefused(Refusal.WRONG_AUDIENCE)
        if not 0 < claims.exp - claims.iat <= TTL_S:
            raise TokenRefused(Refusal.MALFORMED_TOKEN)
        return claims


_SIGNATURE_ONLY: Final[jwt.types.Options] = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


def _public_key(jwk: Jwk) -> Ed25519PublicKey:
    try:
        data = base64.urlsafe_b64decode(jwk.x + "=" * (-len(jwk.x) % 4))
    except ValueError:
        data = b""
    if (jwk.kty, jwk.crv, jwk.alg) != ("OKP", "Ed25519", _ALGORITHM) or len(data) != _KEY_BYTES:
        raise ValueError(f"the key {jwk.kid} of {jwk.service} is not an Ed25519 key")
    return Ed25519PublicKey.from_public_bytes(data)
