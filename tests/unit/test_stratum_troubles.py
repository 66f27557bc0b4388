"""What a worker process tells operators, and what it keeps to itself."""

from nodes.interface import NodeHealth
from proto.lodepool.events.v1.notices_pb2 import TroubleKind
from stratum.troubles import BUCKET_MS, NO_TEMPLATE_PATIENCE_MS, NODE_PATIENCE_MS, REFUSED_PATIENCE_MS, Troubles

START_MS = 1000 * BUCKET_MS


def health(**is_up):
    return [
        NodeHealth(name=name, is_up=up, height=1, last_error="" if up else "refused", latency_ms=1)
        for name, up in is_up.items()
    ]


class Seen:
    def __init__(self, instance="0-a-1"):
        self.troubles = Troubles(coin_id="litecoin", instance=instance)

    def look(self, after_ms, *, reason="", **is_up):
        self.troubles.look(health(**is_up), refusing_reason=reason, now_ms=START_MS + after_ms)
        told = list(self.troubles.waiting)
        self.troubles.written()
        return told


def kinds(told):
    return [TroubleKind.Name(notice.trouble.kind).removeprefix("TROUBLE_KIND_") for notice in told]


def test_node_that_stays_down_is_told_once_and_again_when_it_is_up():
    seen = Seen()
    assert seen.look(0, a=True, b=False) == []
    assert seen.look(NODE_PATIENCE_MS - 1, a=True, b=False) == []
    (down,) = seen.look(NODE_PATIENCE_MS, a=True, b=False)
    assert (down.notice_id, down.time_ms) == (f"trouble/node_down/litecoin/b/{START_MS}", START_MS)
    assert (down.trouble.subject, down.trouble.detail) == ("b", "refused")
    assert seen.look(NODE_PATIENCE_MS * 5, a=True, b=False) == []
    assert kinds(seen.look(NODE_PATIENCE_MS * 6, a=True, b=True)) == ["NODE_UP"]
    assert seen.look(NODE_PATIENCE_MS * 7, a=True, b=True) == []


def test_node_that_fails_for_a_moment_is_nobodys_trouble():
    seen = Seen()
    seen.look(0, a=True, b=False)
    seen.look(10_000, a=True, b=True)
    assert seen.look(NODE_PATIENCE_MS, a=True, b=False) == []


def test_no_node_left_is_told_of_its_own():
    seen = Seen()
    seen.look(0, a=False)
    (told,) = seen.look(NO_TEMPLATE_PATIENCE_MS, a=False)
    assert (kinds([told]), told.trouble.subject, told.trouble.detail) == (["NO_TEMPLATE"], "0-a-1", "a: refused")


def test_refused_shares_are_told_with_the_reason():
    """D5, D6."""
    seen = Seen()
    seen.look(0, reason="the journal is full", a=True)
    (told,) = seen.look(REFUSED_PATIENCE_MS, reason="the journal is full", a=True)
    assert (kinds([told]), told.trouble.detail) == (["SHARES_REFUSED"], "the journal is full")


def test_processes_that_see_the_same_trouble_give_it_the_same_id():
    ids = set()
    for number in range(4):
        seen = Seen(instance=f"0-a-{number}")
        seen.look(number * 1000, a=False, b=True)
        (told,) = seen.look(number * 1000 + NODE_PATIENCE_MS, a=False, b=True)
        ids.add(told.notice_id)
    assert len(ids) == 1


def test_what_could_not_be_written_waits():
    seen = Seen()
    for after_ms in (0, NODE_PATIENCE_MS, NODE_PATIENCE_MS + 1):
        seen.troubles.look(health(a=True, b=False), refusing_reason="", now_ms=START_MS + after_ms)
    assert kinds(seen.troubles.waiting) == ["NODE_DOWN"]
