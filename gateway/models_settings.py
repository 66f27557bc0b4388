"""The shapes of what an owner sets for its address."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.models import Answer

AMOUNT_MAX = 2**53 - 1


class Settings(Answer, frozen=True, kw_only=True):
    """What an owner has set."""

    payout_threshold_atomic: Annotated[int, Meta(description="The balance at which it is paid, atomic units.")]
    is_threshold_default: Annotated[bool, Meta(description="The threshold is the pool's, not its own.")]
    scheme: Annotated[str | None, Meta(description="Always null: each worker chooses with m= in its password.")]
    is_anonymous: Annotated[bool, Meta(description="Rankings leave out its address.")]
    revision: Annotated[int, Meta(description="Number of changes there have been; the next one names it.")]
    can_choose_scheme: Annotated[bool, Meta(description="Always false.")]
    proof_kinds: Annotated[
        list[str], Meta(description="How a change can be proven; empty for an address that cannot sign messages.")
    ]


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What proves that a change comes from the owner."""

    kind: Literal["signature"]
    signature: Annotated[str, Meta(max_length=100, description="Base64 of the signed message, as wallets give it.")]


class SettingsChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change; what is left out stays."""

    payout_threshold_atomic: (
        Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="0 returns to the pool's default.")] | None
    ) = None
    is_anonymous: bool | None = None
    time: Annotated[str, Meta(max_length=40, description="ISO 8601 with its offset, at most 10 minutes off.")]
    revision: Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="Of the settings the change is made from.")]
    proof: Proof
