"""What a worker process tells operators: nodes that fail, no work to give out, shares that it must refuse.

Pure: readings in, notices out. They go through the journal like shares, so that they are neither lost nor waited for.
"""

from collections.abc import Iterable
from typing import Final

from nodes.interface import NodeHealth
from proto.lodepool.events.v1.notices_pb2 import Notice, TroubleKind, TroubleNotice

NODE_PATIENCE_MS: Final = 30_000
"""A node that is down for less is nobody's trouble."""
NO_TEMPLATE_PATIENCE_MS: Final = 15_000
REFUSED_PATIENCE_MS: Final = 5_000
BUCKET_MS: Final = 600_000
"""All processes see the same trouble: what begins within the same ten minutes has one id, and is told once."""
DETAIL_CHARS_MAX: Final = 500

_NAMES: Final = {
    TroubleKind.TROUBLE_KIND_NODE_DOWN: "node_down",
    TroubleKind.TROUBLE_KIND_NODE_UP: "node_up",
    TroubleKind.TROUBLE_KIND_NO_TEMPLATE: "no_template",
    TroubleKind.TROUBLE_KIND_SHARES_REFUSED: "shares_refused",
}


class Troubles:
    """Notices of one process that are not in its journal yet.

    Attributes:
        waiting: What is to be written; call `written` when it is.

    Args:
        coin_id: The coin.
        instance: This life of the process.
    """

    def __init__(self, *, coin_id: str, instance: str) -> None:
        self._coin_id = coin_id
        self._instance = instance
        self._since_ms: dict[tuple[TroubleKind.ValueType, str], int] = {}
        self._told: set[tuple[TroubleKind.ValueType, str]] = set()
        self.waiting: list[Notice] = []

    def look(self, health: Iterable[NodeHealth], *, refusing_reason: str, now_ms: int) -> None:
        """Compare with what was seen before.

        Args:
            health: Of each node.
            refusing_reason: Why shares are refused; empty when they are not.
            now_ms: The time, milliseconds since the Unix epoch.
        """
        nodes = list(health)
        for node in nodes:
            is_told = self._see(
                TroubleKind.TROUBLE_KIND_NODE_DOWN,
                node.name,
                detail=node.last_error,
                is_so=not node.is_up,
                patience_ms=NODE_PATIENCE_MS,
                now_ms=now_ms,
            )
            if is_told and node.is_up:
                self._tell(TroubleKind.TROUBLE_KIND_NODE_UP, node.name, detail="", since_ms=now_ms)
        self._see(
            TroubleKind.TROUBLE_KIND_NO_TEMPLATE,
            "",
            detail="; ".join(f"{node.name}: {node.last_error}" for node in nodes),
            is_so=not any(node.is_up for node in nodes),
            patience_ms=NO_TEMPLATE_PATIENCE_MS,
            now_ms=now_ms,
        )
        self._see(
            TroubleKind.TROUBLE_KIND_SHARES_REFUSED,
            "",
            detail=refusing_reason,
            is_so=bool(refusing_reason),
            patience_ms=REFUSED_PATIENCE_MS,
            now_ms=now_ms,
        )

    def written(self) -> None:
        """Note that all that waited is in the journal."""
        self.waiting = []

    def _see(
        self,
        kind: "TroubleKind.ValueType",
        subject: str,
        *,
        detail: str,
        is_so: bool,
        patience_ms: int,
        now_ms: int,
    ) -> bool:
        """Tell of a trouble once it has lasted; return whether it was told before this look."""
        key = kind, subject
        was_told = key in self._told
        if not is_so:
            self._since_ms.pop(key, None)
            self._told.discard(key)
        elif not was_told and now_ms - self._since_ms.setdefault(key, now_ms) >= patience_ms:
            self._told.add(key)
            self._tell(kind, subject, detail=detail, since_ms=self._since_ms[key])
        return was_told

    def _tell(self, kind: "TroubleKind.ValueType", subject: str, *, detail: str, since_ms: int) -> None:
        bucket_ms = since_ms - since_ms % BUCKET_MS
        self.waiting.append(
            Notice(
                notice_id=f"trouble/{_NAMES[kind]}/{self._coin_id}/{subject}/{bucket_ms}",
                coin=self._coin_id,
                time_ms=since_ms,
                trouble=TroubleNotice(kind=kind, subject=subject or self._instance, detail=detail[:DETAIL_CHARS_MAX]),
            )
        )
