"""What the owner of an address signs to change its settings. Pure."""

from collections.abc import Mapping

from coins.bitcoin.message import is_signed_by
from coins.coin import Coin


def settings_text(*, coin_id: str, address: str, revision: int, time: str, fields: Mapping[str, str]) -> str:
    r"""Return the text that the owner signs, without a line break at its end.

    Example: "lodepool settings\ncoin=litecoin\naddress=ltc1q…\nrevision=3\ntime=2025-03-01T12:00:00Z\n" and
    "is_anonymous=true".

    Raises:
        ValueError: When a value could pass for more than one line.
    """
    pairs = [
        ("coin", coin_id),
        ("address", address),
        ("revision", str(revision)),
        ("time", time),
        *sorted(fields.items()),
    ]
    for name, value in pairs:
        if not value.isprintable():
            raise ValueError(f"{name} is not printable")
    return "\n".join(["lodepool settings", *(f"{name}={value}" for name, value in pairs)])


def settings_fields(*, payout_threshold_atomic: int | None, is_anonymous: bool | None) -> dict[str, str]:
    """Return the settings that are changed, as they are signed; None is not changed."""
    fields = {}
    if payout_threshold_atomic is not None:
        fields["payout_threshold_atomic"] = str(payout_threshold_atomic)
    if is_anonymous is not None:
        fields["is_anonymous"] = "true" if is_anonymous else "false"
    return fields


def is_settings_change_signed(
    coin: Coin, *, address: str, revision: int, time: str, fields: Mapping[str, str], signature: str
) -> bool:
    """Return whether the owner of an address has signed a change; takes some milliseconds."""
    try:
        text = settings_text(coin_id=coin.coin_id, address=address, revision=revision, time=time, fields=fields)
    except ValueError:
        return False
    return is_signed_by(coin, address=address, message=text, signature=signature)
