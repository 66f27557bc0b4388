"""Who calls, and whether he may: the server's side of certificates, tokens and `Access`."""

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

from runtime.clock import Clock, SystemClock
from runtime.logs import log_event
from runtime.rpc.access import Access
from runtime.rpc.certificates import services_of
from runtime.rpc.errors import PermissionDenied, Unauthenticated
from runtime.rpc.tokens import Refusal, TokenRefused

if TYPE_CHECKING:
    import grpc

_log = logging.getLogger("lodepool.rpc")

OPEN_TO_ALL: Final = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
"""What anyone with a certificate may call, without a token."""
LOG_EVERY_S: Final = 60.0
"""A caller's refusals for one reason make one line in this time."""

_LOGGED_MAX = 1_000
_SCHEME = "Bearer "


class Verifier(Protocol):
    """Knows whom a token is from; `runtime.rpc.identity.Identity` is one."""

    def verify(self, token: str) -> str:
        """Return the service that made the token; raise TokenRefused when it proves nothing."""
        ...


class Guard:
    """Asks each call who it is from.

    Args:
        verifier: Knows whom a token is from.
        access: Who may call what; None lets every service call everything.
        clock: The time.
    """

    def __init__(self, verifier: Verifier, access: Access | None, *, clock: Clock | None = None) -> None:
        self._verifier = verifier
        self._access = access
        self._clock = clock or SystemClock()
        self._logged: dict[tuple[str, str], float] = {}

    def check(self, method: str, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        """Return if a call may go on.

        Args:
            method: "/package.Service/Method".
            context: The call.

        Raises:
            Unauthenticated: When the caller has not proven who he is.
            PermissionDenied: When he may not call this method.
        """
        if method.startswith(OPEN_TO_ALL):
            return
        shown = services_of(_certificate_names(context))
        try:
            caller = self._verifier.verify(_token(context))
        except TokenRefused as error:
            self._log(", ".join(shown), error.refusal.name, method)
            raise Unauthenticated(error.refusal.value, reason=error.refusal.name) from None
        if caller not in shown:
            self._log(", ".join(shown), "FOREIGN_TOKEN", method)
            raise Unauthenticated(
                f"the token is {caller}'s, the certificate is {' and '.join(shown) or 'no service'}'s",
                reason="FOREIGN_TOKEN",
            )
        if self._access is not None and not self._access.allows(caller, method.rpartition("/")[2]):
            self._log(caller, "NOT_ALLOWED", method)
            raise PermissionDenied(f"{caller} may not call {method}", reason="NOT_ALLOWED", metadata={"caller": caller})

    def _log(self, caller: str, reason: str, method: str) -> None:
        now_s = self._clock.monotonic_s()
        last_s = self._logged.get((caller, reason))
        if last_s is not None and now_s - last_s < LOG_EVERY_S:
            return
        if len(self._logged) >= _LOGGED_MAX:
            self._logged.clear()
        self._logged[caller, reason] = now_s
        log_event(_log, logging.WARNING, "call refused", caller=caller or "?", reason=reason, method=method[:200])


def _certificate_names(context: "grpc.aio.ServicerContext[Any, Any]") -> tuple[str, ...]:
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return tuple(name.decode("utf-8", "replace") for name in names)


def _token(context: "grpc.aio.ServicerContext[Any, Any]") -> str:
    """Return the call's token.

    Raises:
        TokenRefused: When there is none, or more than one.
    """
    values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    if not values:
        raise TokenRefused(Refusal.NO_TOKEN)
    value = values[0]
    if len(values) > 1 or not isinstance(value, str) or not value.startswith(_SCHEME):
        raise TokenRefused(Refusal.MALFORMED_TOKEN)
    return value.removeprefix(_SCHEME)
