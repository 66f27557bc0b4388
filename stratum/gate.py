"""Decide which connections may come in: limits and bans."""

BANS_MAX = 100_000
"""More bans than this and the oldest are forgotten: memory is bounded whatever comes."""


class Gate:
    """Counts connections by address and remembers bans; pure.

    Args:
        sessions_max: Connections altogether.
        sessions_per_address_max: Connections from one address.
        ban_s: How long a ban lasts.
    """

    def __init__(self, *, sessions_max: int, sessions_per_address_max: int, ban_s: float) -> None:
        self._sessions_max = sessions_max
        self._sessions_per_address_max = sessions_per_address_max
        self._ban_s = ban_s
        self._counts: dict[str, int] = {}
        self._bans: dict[str, tuple[float, str]] = {}
        self.session_count = 0

    def enter(self, address: str, now_s: float) -> str:
        """Let a connection in; otherwise say why not, and count nothing.

        Returns:
            Empty when it is in; `leave` must be called once for it.
        """
        ban = self._bans.get(address)
        if ban is not None:
            until_s, reason = ban
            if now_s < until_s:
                return f"banned for another {until_s - now_s:.0f} s: {reason}"
            del self._bans[address]
        if self.session_count >= self._sessions_max:
            return f"the pool has its {self._sessions_max} connections, use another server"
        count = self._counts.get(address, 0)
        if count >= self._sessions_per_address_max:
            return f"there are {count} connections from your address already"
        self._counts[address] = count + 1
        self.session_count += 1
        return ""

    def leave(self, address: str) -> None:
        """Note that a connection has ended."""
        self.session_count -= 1
        count = self._counts[address] - 1
        if count:
            self._counts[address] = count
        else:
            del self._counts[address]

    def ban(self, address: str, reason: str, now_s: float) -> None:
        """Keep an address out for a while."""
        if len(self._bans) >= BANS_MAX:
            del self._bans[next(iter(self._bans))]
        self._bans[address] = (now_s + self._ban_s, reason)
