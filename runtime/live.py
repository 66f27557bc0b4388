"""Settings that may change while the process runs."""

from collections.abc import Callable
from typing import ClassVar, Generic, Protocol, TypeVar

import msgspec


class LiveSettings(Protocol):
    """A settings struct that says which of its fields may change while a process runs."""

    LIVE: ClassVar[frozenset[str]]
    __struct_fields__: ClassVar[tuple[str, ...]]


T = TypeVar("T", bound=LiveSettings)


class Live(Generic[T]):
    """The settings of a section as they are in force now.

    Readers ask `value` each time they need a setting; those that have to act on a change register with `on_change`.

    Args:
        value: The settings at the start.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._listeners: list[Callable[[T], None]] = []

    @property
    def value(self) -> T:
        """Return the settings in force."""
        return self._value

    def set(self, wanted: T) -> tuple[str, ...]:
        """Put what may change of new settings into force; tell those who listen.

        Returns:
            The fields that differ and keep their old value until the process starts anew.
        """
        old = self._value
        changed = [name for name in old.__struct_fields__ if getattr(old, name) != getattr(wanted, name)]
        taken = {name: getattr(wanted, name) for name in changed if name in old.LIVE}
        try:
            # Struct types are not protocols; every LiveSettings is one.
            mixed = msgspec.structs.replace(old, **taken)  # type: ignore[type-var]
        except ValueError:
            # Right as a whole, but not beside what has to wait for a restart.
            return tuple(changed)
        if taken:
            self._value = mixed
            for listener in tuple(self._listeners):
                listener(mixed)
        return tuple(name for name in changed if name not in old.LIVE)

    def on_change(self, listener: Callable[[T], None]) -> Callable[[], None]:
        """Call `listener` with the settings after each change, in the event loop's thread; it must not fail.

        Returns:
            Call it to be told no more.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
