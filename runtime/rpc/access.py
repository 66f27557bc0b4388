"""Which services may call what."""

from dataclasses import dataclass
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
    """

    readers: frozenset[str]
    writers: frozenset[str]

    def allows(self, caller: str, method: str) -> bool:
        """Tell whether a caller may call a method.

        Args:
            caller: Name of the calling service.
            method: The method's name without package and service: "GetStatus".
        """
        return caller in self.writers or (caller in self.readers and method.startswith(READS))
