"""Protobuf into models."""

import msgspec
import pytest

from gateway import models, translation
from gateway.config import GatewaySettings
from gateway.problems import Kind, ProblemFound
from gateway.routing import page_of
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2


@pytest.mark.parametrize(
    ("round_work", "network_work", "percent"),
    [
        ("0", "3", "0.00"),
        ("5", "3", "166.66"),
        ("104250", "100000", "104.25"),
        ("1", "100001", "0.00"),
        ("999999999999999999999999999999", "1000000000000000000000000000000", "99.99"),
        ("7", "0", None),
        ("7", "", None),
        ("", "7", "0.00"),
    ],
)
def test_effort_is_percent_with_two_decimals_rounded_down(round_work, network_work, percent):
    assert translation.effort_percent(round_work, network_work) == percent


def test_hashrates_are_numbers_up_to_what_readers_hold_exactly_and_digits_above():
    assert translation.hashrate_of("9007199254740991") == 2**53 - 1
    assert translation.hashrate_of("9007199254740992") == "9007199254740992"
    assert translation.hashrate_of("900000000000000000000") == "900000000000000000000"
    assert translation.hashrate_of("") == 0


def test_times_are_iso_8601_in_utc_and_zero_is_never():
    assert msgspec.to_builtins(translation.time_of(1_700_000_000_123)) == "2023-11-14T22:13:20.123000Z"
    assert translation.time_or_none(0) is None


@pytest.mark.parametrize("status", models.BlockStatus)
def test_block_statuses_survive_the_way_there_and_back(status):
    assert translation.block_status(translation.block_status_to_proto(status)) is status


def test_every_status_on_the_wire_has_a_name_here():
    for value in rewards_pb2.BlockStatus.values():
        if value != rewards_pb2.BLOCK_STATUS_UNSPECIFIED:
            assert translation.block_status(value) in models.BlockStatus
    for value in payouts_pb2.BatchStatus.values():
        named = translation.payout_status(value)
        assert (named is None) == (value == payouts_pb2.BATCH_STATUS_UNSPECIFIED)


def test_a_block_that_is_not_credited_has_no_effort_yet():
    message = rewards_pb2.Block(
        height=7, status=rewards_pb2.BLOCK_STATUS_CANDIDATE, found_time_ms=1, network_work="10", round_work="0"
    )
    assert translation.block(message).effort_percent is None


def test_a_page_has_the_default_size_but_not_more_than_the_pool_allows():
    assert page_of({}, GatewaySettings()).size == 100
    assert page_of({}, GatewaySettings(page_size_max=20)).size == 20
    assert page_of({"page_size": "20"}, GatewaySettings(page_size_max=20)).size == 20


@pytest.mark.parametrize("text", ["0", "-1", "21", "x", "", "1.5", "١", "9" * 5000])
def test_a_page_size_that_is_not_allowed_is_refused_with_what_is(text):
    with pytest.raises(ProblemFound) as caught:
        page_of({"page_size": text}, GatewaySettings(page_size_max=20))
    assert caught.value.kind is Kind.BAD_PARAMETER
    assert "from 1 to 20" in caught.value.detail


@pytest.mark.parametrize(
    "values", [{"port": 0}, {"timeout_s": 0}, {"page_size_max": 1001}, {"cors_origins": ["stats.example"]}, {"prot": 1}]
)
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(values, GatewaySettings)
