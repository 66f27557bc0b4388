"""Which services may call what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

READS: Final = ("Get", "List", "Watch", "Check", "BatchGet")
"""Methods whose names begin so change nothing."""
OPERATOR: Final = "cli"
"""The caller's name of the `lodepool` command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The callers of a service, by name.

    Attributes:
        readers: May call the methods that change nothing.
        writers: May call every method.
        special: Methods by name, with those who may call them as well.
    """

    readers: frozenset[str]
    writers: frozenset[str]
    special: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def allows(self, caller: str, method: str) -> bool:
        """Tell whether a caller may call a method.

        Args:
            caller: Name of the calling service.
            method: The method's name without package and service: "GetStatus".
        """
        if caller in self.writers or (caller in self.readers and method.startswith(READS)):
            return True
        return caller in self.special.get(method, ())
