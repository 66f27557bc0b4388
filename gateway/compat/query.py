"""Parameters as the original reads them: names in any case, numbered pages from 0, unknown ones ignored. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

PAGE_SIZE_DEFAULT = 15
NUMBER_MAX = 2**31 - 1
HOUR, DAY = 1, 24
"""The two times, in hours, over which miners are ranked."""


class ValueRefused(Exception):
    """Raised when a parameter has a value that it cannot have.

    Attributes:
        name: The parameter.
        value: Its value, cut after 40 characters.
    """

    def __init__(self, name: str, value: str) -> None:
        super().__init__(name, value)
        self.name = name
        self.value = value[:40]


class SampleRange(IntEnum):
    """How far samples reach back; the numbers are accepted for the names."""

    HOUR = 1
    DAY = 2
    MONTH = 3


class SampleInterval(IntEnum):
    """How long a sample is."""

    HOUR = 1
    DAY = 2


class BlockState(Enum):
    """Where a block is; the names are what answers say."""

    PENDING = "pending"
    ORPHANED = "orphaned"
    CONFIRMED = "confirmed"


_STATES = {"1": BlockState.PENDING, "2": BlockState.ORPHANED, "3": BlockState.CONFIRMED} | {
    state.value: state for state in BlockState
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a reader asks for.

    Attributes:
        page: Number of the page, from 0.
        page_size: Items on a page.
        top_miners_h: How far back a miner's hashrate counts for its rank, hours.
        reach: How far samples reach back.
        interval: How long a sample of the pool is.
        states: Blocks of these states.
    """

    page: int = 0
    page_size: int = PAGE_SIZE_DEFAULT
    top_miners_h: int = DAY
    reach: SampleRange = SampleRange.DAY
    interval: SampleInterval = SampleInterval.HOUR
    states: frozenset[BlockState] = frozenset(BlockState)

    def part(self, parameters: Collection[str]) -> "Query":
        """Return only what these parameters say: what a path does not read makes no difference there."""
        return Query(**{_FIELDS[name]: getattr(self, _FIELDS[name]) for name in parameters})

    @property
    def offset(self) -> int:
        """Return how many items lie before the page."""
        return self.page * self.page_size


_FIELDS = {
    "page": "page",
    "pageSize": "page_size",
    "topMinersRange": "top_miners_h",
    "r": "reach",
    "mode": "reach",
    "perfMode": "reach",
    "i": "interval",
    "state": "states",
}


def read_query(pairs: Iterable[tuple[str, str]], *, page_size_max: int) -> Query:
    """Return what the parameters ask for; of one that comes twice the first counts, of `state` all.

    Args:
        pairs: Names and values as they come.
        page_size_max: A greater page size becomes this.

    Raises:
        ValueRefused: When a value does not fit its parameter.
    """
    values: dict[str, str] = {}
    states: set[BlockState] = set()
    for name, value in pairs:
        lowered = name.lower().removesuffix("[]")
        if lowered == "state":
            if value.lower() not in _STATES:
                raise ValueRefused("state", value)
            states.add(_STATES[value.lower()])
        else:
            values.setdefault(lowered, value)
    reach = values.get("r") or values.get("perfmode") or values.get("mode")
    reach_name = "r" if "r" in values else "perfMode"
    return Query(
        page=_number(values, "page", default=0, lowest=0),
        page_size=min(_number(values, "pageSize", default=PAGE_SIZE_DEFAULT, lowest=1), page_size_max),
        top_miners_h=HOUR if _number(values, "topMinersRange", default=DAY, lowest=0) <= HOUR else DAY,
        reach=SampleRange.DAY if not reach else SampleRange(_choice(reach_name, reach, SampleRange.__members__)),
        interval=SampleInterval(_choice("i", values["i"], SampleInterval.__members__))
        if values.get("i")
        else SampleInterval.HOUR,
        states=frozenset(states or BlockState),
    )


def _number(values: Mapping[str, str], name: str, *, default: int, lowest: int) -> int:
    text = values.get(name.lower())
    if not text:
        return default
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(NUMBER_MAX))
    if not is_number or not lowest <= int(text) <= NUMBER_MAX:
        raise ValueRefused(name, text)
    return int(text)


def _choice(name: str, text: str, members: Mapping[str, int]) -> int:
    for member, number in members.items():
        if text.upper() == member or text == str(int(number)):
            return int(number)
    raise ValueRefused(name, text)
