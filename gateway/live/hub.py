"""Topics, who wants them, and what a client's message asks for. Pure."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

TOPICS_MAX = 16
"""Of one client."""
MESSAGE_BYTES_MAX = 4_096
POOL, BLOCKS, PAYOUTS = "pool", "blocks", "payouts"
MINER_PREFIX = "miner:"
_PLAIN = frozenset({POOL, BLOCKS, PAYOUTS})

Client = TypeVar("Client")


class MessageRefused(Exception):
    """Raised when a client's message cannot be followed; its text is for the client."""


class Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client sends.

    Attributes:
        subscribe: Topics it wants from now on.
        unsubscribe: Topics it does not want any more.
    """

    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()


def read_wish(text: str | bytes, *, canonical: Callable[[str], str]) -> Wish:
    """Return what a message asks for, its topics in their one form.

    Args:
        text: The message.
        canonical: Address → the form by which the pool knows it; raises ValueError for what is none.

    Raises:
        MessageRefused: When it is not JSON of the right shape, or names what is no topic.
    """
    try:
        wish = msgspec.json.decode(text, type=Wish)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MessageRefused(f'{error}, expected {{"subscribe": ["pool"]}}.') from None
    if len(wish.subscribe) + len(wish.unsubscribe) > 2 * TOPICS_MAX:
        raise MessageRefused(f"There are more than {2 * TOPICS_MAX} topics in the message.")
    return Wish(
        subscribe=tuple(_topic(topic, canonical) for topic in wish.subscribe),
        unsubscribe=tuple(_topic(topic, canonical) for topic in wish.unsubscribe),
    )


def _topic(text: str, canonical: Callable[[str], str]) -> str:
    if text in _PLAIN:
        return text
    if text.startswith(MINER_PREFIX):
        try:
            return MINER_PREFIX + canonical(text.removeprefix(MINER_PREFIX))
        except ValueError as error:
            raise MessageRefused(f"{error}.") from None
    expected = ", ".join(sorted(_PLAIN))
    raise MessageRefused(f"{text[:40]!r} is not a topic, expected {expected} or {MINER_PREFIX}<address>.")


@dataclass(slots=True)
class Hub(Generic[Client]):
    """Knows who wants what.

    Attributes:
        wanted: Topic → the clients that want it, in the order in which they came; topics nobody wants are left out.
        topics: Client → its topics.
    """

    wanted: dict[str, dict[Client, None]] = field(default_factory=dict)
    topics: dict[Client, set[str]] = field(default_factory=dict)

    def join(self, client: Client) -> None:
        """Take a client without topics."""
        self.topics[client] = set()

    def leave(self, client: Client) -> None:
        """Forget a client; one that is not known is fine."""
        for topic in self.topics.pop(client, ()):
            self._forget(client, topic)

    def follow(self, client: Client, wish: Wish) -> Collection[str]:
        """Do what a client wants; return the topics that are new to it.

        Raises:
            MessageRefused: When it would have more than `TOPICS_MAX` topics; then nothing has changed.
        """
        had = self.topics[client]
        has = (had - set(wish.unsubscribe)) | set(wish.subscribe)
        if len(has) > TOPICS_MAX:
            raise MessageRefused(f"These would be {len(has)} topics, expected at most {TOPICS_MAX}.")
        for topic in had - has:
            self._forget(client, topic)
        for topic in has - had:
            self.wanted.setdefault(topic, {})[client] = None
        self.topics[client] = has
        return [topic for topic in dict.fromkeys(wish.subscribe) if topic not in had]

    def clients(self, topic: str) -> Collection[Client]:
        """Return who wants a topic, as of now."""
        return tuple(self.wanted.get(topic, ()))

    def miners(self) -> list[str]:
        """Return the addresses that somebody wants to follow."""
        return [topic.removeprefix(MINER_PREFIX) for topic in self.wanted if topic.startswith(MINER_PREFIX)]

    def _forget(self, client: Client, topic: str) -> None:
        clients = self.wanted[topic]
        del clients[client]
        if not clients:
            del self.wanted[topic]
