"""What an owner sets for its address: a change is signed with the address itself."""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from coins.bitcoin.message import can_sign, is_signed_by
from coins.owner import settings_fields, settings_text
from gateway import examples, models_settings
from gateway.context import Gateway
from gateway.panels import need
from gateway.problems import Kind, ProblemFound, from_service
from gateway.routes.miners import MINER_PROBLEMS, address_of, unknown_miner
from gateway.routing import ADDRESS, COIN, Change, Route
from proto.lodepool.miners.v1 import miners_pb2
from runtime.rpc.errors import FailedPrecondition, NotFound, PermissionDenied, RpcError

TIME_OFF_MS_MAX = 600_000
"""How far the time in a signed message may be from ours."""


async def get_settings(gateway: Gateway, values: Mapping[str, str]) -> models_settings.Settings:
    """Answer what an owner has set."""
    address = address_of(gateway, values)
    try:
        account = await need("miners", gateway.sources.account(address))
    except NotFound:
        raise unknown_miner(address) from None
    return _settings(gateway, account)


async def put_settings(
    gateway: Gateway, values: Mapping[str, str], change: models_settings.SettingsChange
) -> models_settings.Settings:
    """Make a change that is signed with the address."""
    address = address_of(gateway, values)
    fields = settings_fields(payout_threshold_atomic=change.payout_threshold_atomic, is_anonymous=change.is_anonymous)
    if not fields:
        raise ProblemFound(Kind.BAD_PARAMETER, "There is nothing to change, expected at least one setting.")
    _check_time(change.time, now_ms=gateway.clock.now_ms())
    text = settings_text(
        coin_id=gateway.coin.coin_id, address=address, revision=change.revision, time=change.time, fields=fields
    )
    if not can_sign(gateway.coin, address):
        raise ProblemFound(Kind.BAD_PROOF, "An address of this kind cannot sign messages.")
    if not is_signed_by(gateway.coin, address=address, message=text, signature=change.proof.signature):
        raise ProblemFound(Kind.BAD_PROOF, f"The signature is not that of {address} over {text!r}.")
    request = miners_pb2.ChangeSettingsRequest(
        account=address,
        revision=change.revision,
        payout_threshold_atomic=change.payout_threshold_atomic,
        is_anonymous=change.is_anonymous,
        signature=change.proof.signature,
        request_id=hashlib.sha256(text.encode()).hexdigest(),
        signed_time=change.time,
    )
    try:
        account = await gateway.sources.change_settings(request)
    except NotFound:
        raise unknown_miner(address) from None
    except FailedPrecondition:
        detail = f"The settings have another revision than {change.revision} by now; read them again."
        raise ProblemFound(Kind.CONFLICT, detail) from None
    except PermissionDenied:
        raise ProblemFound(Kind.BAD_PROOF, f"The signature is not that of {address} over {text!r}.") from None
    except RpcError as error:
        raise from_service(error, service="miners") from error
    return _settings(gateway, account)


def _check_time(text: str, *, now_ms: int) -> None:
    problem = ProblemFound(
        Kind.BAD_PARAMETER, f"time is {text!r}, expected ISO 8601 with its offset, at most 10 minutes off."
    )
    try:
        time = datetime.fromisoformat(text)
        offset_ms = abs(round(time.timestamp() * 1000) - now_ms)
    except (ValueError, OverflowError):
        raise problem from None
    if time.tzinfo is None or not text.isascii() or not text.isprintable() or offset_ms > TIME_OFF_MS_MAX:
        raise problem


def _settings(gateway: Gateway, account: miners_pb2.Account) -> models_settings.Settings:
    return models_settings.Settings(
        payout_threshold_atomic=account.payout_threshold_atomic or gateway.info.payout_threshold_atomic,
        is_threshold_default=not account.payout_threshold_atomic,
        scheme=None,
        is_anonymous=account.is_anonymous,
        revision=account.revision,
        can_choose_scheme=False,
        proof_kinds=["signature"] if can_sign(gateway.coin, account.account) else [],
    )


ROUTES = (
    Route(
        path="/api/v1/miners/{address}/settings",
        operation_id="getSettings",
        summary="What the owner of an address has set.",
        handler=get_settings,
        answer=models_settings.Settings,
        example=examples.SETTINGS,
        parameters=(ADDRESS, COIN),
        problems=MINER_PROBLEMS,
        max_age_s=None,
    ),
)
CHANGES = (
    Change(
        path="/api/v1/miners/{address}/settings",
        operation_id="putSettings",
        summary="Change settings, signed with the address.",
        handler=put_settings,
        body=models_settings.SettingsChange,
        body_example=examples.SETTINGS_CHANGE,
        answer=models_settings.Settings,
        example=examples.SETTINGS,
        parameters=(ADDRESS, COIN),
        problems=(*MINER_PROBLEMS, Kind.BAD_REQUEST, Kind.BAD_PROOF, Kind.CONFLICT),
    ),
)
