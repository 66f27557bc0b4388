"""A process that sends what is queued for Telegram chats into a file; `python -m … DSN FILE [hang]`.

Each message is a line, written before the answer. With "hang" answers never come.
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from notifier.channels.interface import Message, Outcome, Pace, Sent
from notifier.config import NotifierSettings
from notifier.domain import ChannelKind
from notifier.metrics import Counters
from notifier.sender import Sender
from runtime.clock import SystemClock
from runtime.live import Live
from runtime.postgres.pool import close_pool, open_pool
from runtime.postgres.settings import PostgresSettings


@dataclass
class FileChannel:
    """Sends into a file."""

    path: Path
    does_hang: bool
    timeout_s: float = 3.0

    @property
    def pace(self) -> Pace:
        return Pace(per_s=500, burst=20, target_interval_ms=lambda _address: 0, concurrent_max=10)

    async def send(self, message: Message) -> Outcome:
        with self.path.open("a", encoding="utf-8") as file:
            for notice in message.notices:
                file.write(f"{message.key} {message.subscription.address} {notice.notice_id}\n")
        if self.does_hang:
            await asyncio.Event().wait()
        return Sent()

    async def close(self) -> None:
        pass


async def main(dsn: str, path: str, *, does_hang: bool) -> None:
    pool = await open_pool(dsn, PostgresSettings(dsn=dsn))
    sender = Sender(
        ChannelKind.TELEGRAM,
        FileChannel(Path(path), does_hang),
        pool=pool,
        clock=SystemClock(),
        live=Live(NotifierSettings()),
        counters=Counters(),
    )
    try:
        await sender.run()
    finally:
        await close_pool(pool)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], does_hang=sys.argv[3:] == ["hang"]))
