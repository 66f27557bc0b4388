"""Read user names, passwords and user agents."""

import re
from dataclasses import dataclass
from fractions import Fraction

from coins.bitcoin.address import payee
from coins.coin import Algorithm, Coin
from coins.errors import AddressError
from stratum.protocol.messages import positive_fraction

USER_CHARS_MAX = 128
USER_AGENT_CHARS_MAX = 64
NICEHASH_DIFFICULTY_MIN = {Algorithm.SHA256D: Fraction(500_000)}
"""What NiceHash checks right after authorize."""

_SEPARATORS = re.compile(r"[,; ]+")
_USER_SEPARATOR = re.compile(r"[._]")
_RECONNECTING = ("cgminer", "bfgminer", "sgminer", "bosminer", "bmminer", "antminer")
_SMALL_DEVICES = ("nerdminer", "nmminer", "esp", "cpuminer", "lodepool-miner")


class UserRefused(Exception):
    """Raised when a user name or password cannot be accepted; its text is for the miner."""


@dataclass(frozen=True, slots=True, eq=False)
class Submitter:
    """An authorised worker of a connection; compared by identity.

    Attributes:
        account: The payout address in its canonical form.
        worker: Its name below the account; empty for the default worker.
        scheme: The reward scheme it mines under.
        user_agent: What the firmware called itself; may be empty.
    """

    account: str
    worker: str
    scheme: str
    user_agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordOptions:
    """What a miner asks for in the password.

    Attributes:
        difficulty: The difficulty it starts with, and does not go below; None when it does not say.
        is_fixed: Whether the difficulty must stay.
        scheme: The reward scheme; None when it does not say.
    """

    difficulty: Fraction | None = None
    is_fixed: bool = False
    scheme: str | None = None


def parse_user(coin: Coin, user: str) -> tuple[str, str]:
    """Split `address.worker` or `address_worker` into the canonical address and the worker.

    Raises:
        UserRefused: The name is too long or unprintable, or the address is not one of the coin's.
    """
    if len(user) > USER_CHARS_MAX:
        raise UserRefused(f"the user name has more than {USER_CHARS_MAX} characters")
    if not user.isprintable():
        raise UserRefused("the user name holds a control character")
    text = user.strip()
    parts = _USER_SEPARATOR.split(text, maxsplit=1)
    try:
        account = payee(coin, parts[0]).text
    except AddressError as error:
        raise UserRefused(f"the user must be a payout address, address.worker: {error}") from None
    return account, parts[1].strip() if len(parts) > 1 else ""


def parse_password(password: str) -> PasswordOptions:
    """Read `d=`, `diff=`, `fd=` and `m=`, separated by comma, semicolon or space; anything else is passed over."""
    difficulty: Fraction | None = None
    is_fixed = False
    scheme: str | None = None
    for part in _SEPARATORS.split(password[:USER_CHARS_MAX]):
        name, _, value = part.partition("=")
        match name.lower():
            case "d" | "diff" | "fd":
                wanted = positive_fraction(value)
                if wanted is not None:
                    difficulty, is_fixed = wanted, name.lower() == "fd"
            case "m" if value:
                scheme = value.lower()
            case _:
                pass
    return PasswordOptions(difficulty=difficulty, is_fixed=is_fixed, scheme=scheme)


def clean_user_agent(agent: str) -> str:
    """Return a user agent fit for tables and pages: printable, at most 64 characters."""
    return "".join(char for char in agent if char.isprintable())[:USER_AGENT_CHARS_MAX].strip()


def agent_difficulty_min(agent: str, algorithm: Algorithm) -> Fraction | None:
    """Return the difficulty a service insists on; None for all others."""
    return NICEHASH_DIFFICULTY_MIN.get(algorithm) if agent.lower().startswith("nicehash") else None


def is_small_device(agent: str) -> bool:
    """Return whether a firmware's hashrate needs difficulties below 1 (an ASIC must never get one)."""
    name = agent.lower()
    return name.startswith(_SMALL_DEVICES) or "bitaxe" in name


def takes_reconnect(agent: str) -> bool:
    """Return whether a firmware acts on `client.reconnect`; others may take it for an error."""
    name = agent.lower()
    return name.startswith(_RECONNECTING) or "bitaxe" in name
