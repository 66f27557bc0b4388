"""Since when each service is up or down, as far as somebody has looked. Pure."""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class ServiceWatch:
    """Remembers when a service was first seen up or down, without a break.

    Attributes:
        seen: Service → whether it was up when last looked at, and since when, milliseconds since the Unix epoch.
    """

    seen: dict[str, tuple[bool, int]] = field(default_factory=dict)

    def note(self, service: str, *, is_up: bool, now_ms: int) -> int:
        """Take note of how a service is; return since when it is so."""
        known = self.seen.get(service)
        if known is None or known[0] != is_up:
            known = self.seen[service] = (is_up, now_ms)
        return known[1]
