"""What each method of a miner means: a table from its name to the answer."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from coins.errors import TargetError
from coins.work import difficulty_from_target
from stratum.protocol.messages import (
    CODE_OTHER,
    CODE_UNKNOWN_METHOD,
    METHOD_CHARS_SHOWN,
    SUBMIT,
    OddSubmit,
    Request,
    Submit,
    error_line,
    positive_fraction,
    result_line,
)

if TYPE_CHECKING:
    from stratum.protocol.session import Session

_HEX32: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{1,8})")
_HEX256: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{1,64})")
_METHOD_WITH_NUMBER: Final = re.compile(r"(mining\.suggest_difficulty)\(([^)]*)\)?")
_ALL_BITS: Final = 0xFFFFFFFF


def lenient_submit(request: Request) -> Submit | OddSubmit:
    """Return a submit of an unusual form; parameters that are not texts become texts that no rule accepts.

    A null for the version bits counts as none.
    """
    params = list(request.params)
    if len(params) >= 6 and params[5] is None:
        params = params[:5]
    texts = [param if isinstance(param, str) else "\x00" for param in params]
    text = request.id
    if text.isdigit() and (text == b"0" or text[:1] != b"0"):
        return Submit(id=int(text), method=SUBMIT, params=texts)
    return OddSubmit(id=text, params=texts)


def answer(session: "Session", request: Request) -> bytes:
    """Act on a request other than a submit; return the answer's line, empty for none."""
    if not request.method:
        return b""  # the miner's answer to something we asked
    method = request.method
    with_number = _METHOD_WITH_NUMBER.fullmatch(method)
    if with_number is not None:
        method = with_number[1]
        request = Request(id=request.id, method=method, params=[with_number[2]])
    handler = _METHODS.get(method)
    if handler is None:
        return error_line(request.id, CODE_UNKNOWN_METHOD, f"unknown method {method[:METHOD_CHARS_SHOWN]!r}")
    return handler(session, request)


def _text(params: list[object], index: int) -> str:
    value = params[index] if index < len(params) else ""
    return value if isinstance(value, str) else ""


def _subscribe(session: "Session", request: Request) -> bytes:
    return session.subscribe(request.id, user_agent=_text(request.params, 0), wanted_session=_text(request.params, 1))


def _authorize(session: "Session", request: Request) -> bytes:
    user = _text(request.params, 0)
    return session.authorize(request.id, user=user, password=_text(request.params, 1))


def _login(session: "Session", request: Request) -> bytes:
    """Admit a rental's rig that logs in the CryptoNote way."""
    fields = request.params[0] if request.params else None
    if not isinstance(fields, dict):
        return _authorize(session, request)
    user, password = fields.get("login"), fields.get("pass")
    return session.authorize(
        request.id,
        user=user if isinstance(user, str) else "",
        password=password if isinstance(password, str) else "",
    )


def _configure(session: "Session", request: Request) -> bytes:
    """Answer every extension asked for (BIP 310)."""
    names = request.params[0] if request.params else None
    options = request.params[1] if len(request.params) > 1 else {}
    if not isinstance(names, list) or not isinstance(options, dict):
        return error_line(request.id, CODE_OTHER, "expected a list of extensions and an object of parameters")
    result: dict[str, object] = {}
    for name in names:
        if name == "version-rolling":
            result |= _configure_version_rolling(session, options)
        elif name == "minimum-difficulty":
            wanted = positive_fraction(options.get("minimum-difficulty.value"))
            if wanted is not None:
                session.require_difficulty_min(wanted)
            result[name] = wanted is not None
        elif isinstance(name, str):
            result[name[:METHOD_CHARS_SHOWN]] = name in {"subscribe-extranonce", "info"}
    return result_line(request.id, result)


def _configure_version_rolling(session: "Session", options: dict[str, object]) -> dict[str, object]:
    wanted = options.get("version-rolling.mask", "ffffffff")
    found = _HEX32.fullmatch(wanted) if isinstance(wanted, str) else None
    mask = session.configure_version_rolling(int(found[1], 16) if found else 0)
    if not found:
        return {"version-rolling": "the mask must be 1 to 8 hex digits"}
    if not mask:
        return {"version-rolling": False}
    return {"version-rolling": True, "version-rolling.mask": f"{mask:08x}"}


def _suggest_difficulty(session: "Session", request: Request) -> bytes:
    wanted = positive_fraction(request.params[0]) if request.params else None
    return _suggest(session, request, wanted, "expected a positive number")


def _suggest_target(session: "Session", request: Request) -> bytes:
    found = _HEX256.fullmatch(_text(request.params, 0))
    try:
        wanted = difficulty_from_target(int(found[1], 16), session.diff1_target) if found else None
    except TargetError:
        wanted = None
    return _suggest(session, request, wanted, "expected a target of 1 to 64 hex digits above zero")


def _suggest(session: "Session", request: Request, wanted: Fraction | None, problem: str) -> bytes:
    if wanted is None:
        return error_line(request.id, CODE_OTHER, problem)
    session.suggest(wanted)
    return result_line(request.id, result=True)


def _agree(_session: "Session", request: Request) -> bytes:
    return result_line(request.id, result=True)


def _nothing(_session: "Session", request: Request) -> bytes:
    return result_line(request.id, [])


def _capabilities(_session: "Session", request: Request) -> bytes:
    return result_line(request.id, {})


def _pong(_session: "Session", request: Request) -> bytes:
    return result_line(request.id, "pong")


def _version(session: "Session", request: Request) -> bytes:
    return result_line(request.id, session.pool_version)


def _terminate(session: "Session", request: Request) -> bytes:
    session.close("the miner said good-bye", is_ban=False)
    return result_line(request.id, result=True)


_METHODS: Final[dict[str, Callable[["Session", Request], bytes]]] = {
    "mining.subscribe": _subscribe,
    "mining.authorize": _authorize,
    "mining.configure": _configure,
    "mining.suggest_difficulty": _suggest_difficulty,
    "mining.suggest_target": _suggest_target,
    "mining.extranonce.subscribe": _agree,
    "mining.get_transactions": _nothing,
    "mining.capabilities": _capabilities,
    "mining.multi_version": _agree,
    "mining.ping": _pong,
    "mining.term": _terminate,
    "client.get_version": _version,
    "client.reconnect": _agree,
    "login": _login,
    "pong": _agree,
}
