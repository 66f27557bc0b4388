"""The pure parts behind the WebSocket and the limits: topics, changes, frames, addresses and buckets."""

from datetime import UTC, datetime
from ipaddress import ip_network

import msgspec
import pytest

from gateway import examples
from gateway.limits import TokenBuckets, client_address
from gateway.live.changes import REMEMBERED_MAX, BlockChanges, PayoutChanges
from gateway.live.frames import close_frame, message, text_frame
from gateway.live.hub import TOPICS_MAX, Hub, MessageRefused, Wish, read_wish
from gateway.models import BlockStatus, PayoutStatus

BLOCK = examples.BLOCK_PAGE.blocks[0]
PAYOUT = examples.PAYOUT_PAGE.payouts[0]
replace = msgspec.structs.replace


def test_a_client_gets_what_it_wants_and_nothing_after_it_left():
    hub: Hub[str] = Hub()
    hub.join("a")
    hub.join("b")
    assert list(hub.follow("a", Wish(subscribe=("pool", "blocks", "pool")))) == ["pool", "blocks"]
    assert list(hub.follow("a", Wish(subscribe=("pool",)))) == []
    hub.follow("b", Wish(subscribe=("pool", "miner:x")))
    assert (hub.clients("pool"), hub.miners()) == (("a", "b"), ["x"])
    hub.follow("a", Wish(unsubscribe=("pool", "payouts")))
    hub.leave("b")
    hub.leave("b")
    assert (hub.wanted, hub.miners()) == ({"blocks": {"a": None}}, [])


def test_a_wish_for_too_many_topics_changes_nothing():
    hub: Hub[str] = Hub()
    hub.join("a")
    hub.follow("a", Wish(subscribe=tuple(f"miner:{n}" for n in range(TOPICS_MAX))))
    with pytest.raises(MessageRefused, match="17 topics"):
        hub.follow("a", Wish(subscribe=("pool",)))
    hub.follow("a", Wish(subscribe=("pool",), unsubscribe=("miner:0",)))
    assert len(hub.topics["a"]) == TOPICS_MAX


def _canonical(text: str) -> str:
    if not text.isalpha():
        raise ValueError("not an address")
    return text.lower()


def test_miners_are_known_by_the_one_form_of_their_address():
    assert read_wish('{"subscribe":["miner:ABC","pool"]}', canonical=_canonical).subscribe == ("miner:abc", "pool")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"subscribe":"pool"}',
        '{"subscribe":[1]}',
        '{"subscribe":["pools"]}',
        '{"subscribe":["miner:"]}',
        '{"subscribe":["miner:1"]}',
        '{"publish":["pool"]}',
        '{"subscribe":[' + ",".join(['"pool"'] * 33) + "]}",
        b"\xff",
    ],
)
def test_what_is_no_wish_is_refused(text):
    with pytest.raises(MessageRefused):
        read_wish(text, canonical=_canonical)


def test_blocks_are_told_as_they_are_found_grow_mature_and_are_orphaned():
    changes = BlockChanges()
    older = replace(BLOCK, block_hash="aa", height=1)
    assert list(changes.look([older])) == [], "the first look only takes note"
    new = replace(BLOCK, block_hash="bb", height=2, status=BlockStatus.CANDIDATE)
    assert list(changes.look([new, older])) == [("block_found", new)]
    assert list(changes.look([new, older])) == []
    grown = replace(new, status=BlockStatus.IMMATURE, confirmations=3)
    mature, orphaned = replace(older, status=BlockStatus.MATURE), replace(grown, status=BlockStatus.ORPHANED)
    assert list(changes.look([grown, mature])) == [("block_mature", mature), ("block_progress", grown)]
    assert list(changes.look([orphaned, mature])) == [("block_orphaned", orphaned)]


def test_a_block_that_was_out_of_sight_for_a_look_is_not_found_again():
    changes = BlockChanges()
    changes.known = {}
    (first,) = changes.look([BLOCK])
    assert first[0] == "block_found"
    assert list(changes.look([])) == []
    assert list(changes.look([BLOCK])) == []


def test_what_is_remembered_has_a_limit():
    changes = BlockChanges()
    list(changes.look([replace(BLOCK, block_hash=str(n)) for n in range(REMEMBERED_MAX + 10)]))
    assert len(changes.known) == REMEMBERED_MAX


def test_payouts_are_told_when_they_are_sent_and_when_they_are_confirmed():
    changes = PayoutChanges()
    list(changes.look([]))
    reserved = replace(PAYOUT, status=PayoutStatus.RESERVED)
    sent = replace(PAYOUT, status=PayoutStatus.BROADCAST)
    other = replace(PAYOUT, payout_id="other", status=PayoutStatus.CONFIRMED)
    assert list(changes.look([reserved])) == []
    assert list(changes.look([sent])) == [("payout_sent", sent)]
    assert list(changes.look([other, sent])) == [("payout_sent", other), ("payout_confirmed", other)]
    confirmed = replace(PAYOUT, status=PayoutStatus.CONFIRMED)
    assert list(changes.look([other, confirmed])) == [("payout_confirmed", confirmed)]


@pytest.mark.parametrize(
    ("size", "header"), [(125, "817d"), (126, "817e007e"), (65_535, "817effff"), (65_536, "817f0000000000010000")]
)
def test_frames_have_the_lengths_of_rfc_6455(size, header):
    assert text_frame(b"x" * size) == bytes.fromhex(header) + b"x" * size


def test_a_close_frame_has_its_code_and_reason():
    assert close_frame(1013, "slow") == bytes.fromhex("880603f5") + b"slow"
    with pytest.raises(ValueError, match="125"):
        close_frame(1013, "x" * 124)


def test_a_message_without_a_topic_is_about_the_connection():
    time = datetime(2025, 1, 1, tzinfo=UTC)
    assert message(event="hello", data={}, time=time) == b'{"event":"hello","time":"2025-01-01T00:00:00Z","data":{}}'
    assert message(event="e", data=None, time=time, topic="t").startswith(b'{"topic":"t","event":"e"')


TRUSTED = (ip_network("10.0.0.0/8"), ip_network("::1"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["garbage"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4, <script>"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        ("", ["1.2.3.4"], "1.2.3.4"),
    ],
)
def test_only_trusted_proxies_are_believed(peer, forwarded, expected):
    assert client_address(peer, forwarded, TRUSTED) == expected


def test_a_bucket_lets_a_burst_through_and_then_its_rate():
    buckets = TokenBuckets(rate_per_s=2, burst=3, addresses_max=10)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", 0.0) == 0, "others have their own"
    assert buckets.take("a", 0.5) == 0
    assert buckets.take("a", 0.5) == 0.5
    assert [buckets.take("a", 100.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_addresses_that_are_forgotten_bound_the_memory():
    buckets = TokenBuckets(rate_per_s=1, burst=1, addresses_max=2)
    for name in ("a", "b", "c"):
        assert buckets.take(name, 0.0) == 0
    assert buckets.take("c", 0.0) > 0
    assert buckets.take("a", 0.0) == 0
