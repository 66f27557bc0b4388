"""Tell systemd how a process is doing.

Source: sd_notify(3) and sd_watchdog_enabled(3); the protocol is a datagram of "NAME=value" lines.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

_STATUS_CHARS_MAX = 200


class Systemd:
    """The service manager that started this process; silent where there is none.

    Args:
        environment: Where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID may be.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        # A name that begins with "@" is an abstract one, which the kernel writes with a zero byte.
        self._address = f"\0{name[1:]}" if name.startswith("@") else name if name.startswith("/") else ""
        self._watchdog_s = _watchdog_s(environment) if self._address else 0.0

    def ready(self, status: str) -> None:
        """Say that the process serves."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """Show the operator a line in `systemctl status`."""
        self._send(_status(status))

    def stopping(self) -> None:
        """Say that the process cleans up and ends."""
        self._send("STOPPING=1", _status("stops: takes nothing new, finishes what runs"))

    async def keep_watchdog(self) -> None:
        """Show that the event loop turns, twice in each interval that systemd waits, until cancelled.

        Returns at once when nobody waits for it.
        """
        while self._watchdog_s:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A manager that does not listen is no reason to stop serving.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:_STATUS_CHARS_MAX]}"


def _watchdog_s(environment: Mapping[str, str]) -> float:
    text = environment.get("WATCHDOG_USEC", "")
    is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(text) / 1_000_000 if is_ours and text.isascii() and text.isdigit() else 0.0
