"""Settings that may change while a process runs."""

from typing import ClassVar

import msgspec

from runtime.live import Live


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    LIVE: ClassVar[frozenset[str]] = frozenset({"low", "name"})

    low: int = 1
    high: int = 10
    name: str = ""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def test_a_live_field_is_taken_over_and_listeners_are_told() -> None:
    live = Live(Rules())
    told: list[Rules] = []
    live.on_change(told.append)

    assert live.set(Rules(low=2)) == ()

    assert live.value == Rules(low=2)
    assert told == [Rules(low=2)]


def test_other_fields_keep_their_value_and_are_named() -> None:
    live = Live(Rules())
    assert live.set(Rules(high=20, name="x")) == ("high",)
    assert live.value == Rules(name="x")


def test_a_mix_that_contradicts_itself_is_not_taken_over() -> None:
    """low = 15 is right beside high = 20, which has to wait for a restart."""
    live = Live(Rules())
    assert set(live.set(Rules(low=15, high=20))) == {"low", "high"}
    assert live.value == Rules()


def test_a_listener_that_has_left_is_told_nothing() -> None:
    live = Live(Rules())
    told: list[Rules] = []
    leave = live.on_change(told.append)
    leave()
    live.set(Rules(low=3))
    assert told == []


def test_nothing_changed_tells_nobody() -> None:
    live = Live(Rules())
    told: list[Rules] = []
    live.on_change(told.append)
    assert live.set(Rules()) == ()
    assert told == []
