"""What aiokafka says during an outage is said once a minute."""

import logging

import pytest

from runtime.eventlog.kafka_logs import INTERVAL_S, RepetitionFilter, cap_client_logs


def record(text: str, *args: object, time_s: float, level: int = logging.ERROR, name: str = "aiokafka.conn"):
    found = logging.LogRecord(name, level, __file__, 1, text, args, None)
    found.created = time_s
    return found


def test_a_kind_of_message_passes_once_a_minute_and_then_says_how_many_were_left_out():
    repetitions = RepetitionFilter()
    passed = [
        found.getMessage()
        for number in range(125)
        if repetitions.filter(found := record("Unable to connect to %s", number, time_s=1000.0 + number))
    ]
    assert passed == [
        "Unable to connect to 0",
        "Unable to connect to 60 (59 more lines of this kind were left out before)",
        "Unable to connect to 120 (59 more lines of this kind were left out before)",
    ]


def test_other_kinds_pass():
    repetitions = RepetitionFilter()
    assert repetitions.filter(record("one", time_s=1.0))
    assert repetitions.filter(record("two", time_s=1.0))
    assert repetitions.filter(record("one", time_s=1.0, name="aiokafka.client"))
    assert not repetitions.filter(record("one", time_s=2.0))


def test_an_error_of_the_client_counts_as_a_warning():
    found = record("gone", time_s=1.0)
    assert RepetitionFilter().filter(found)
    assert (found.levelno, found.levelname) == (logging.WARNING, "WARNING")


def test_its_news_are_for_those_who_look_for_a_fault(caplog: pytest.LogCaptureFixture):
    repetitions = RepetitionFilter()
    with caplog.at_level(logging.INFO):
        assert not repetitions.filter(record("detail", time_s=1.0, level=logging.INFO))
    with caplog.at_level(logging.DEBUG):
        assert repetitions.filter(record("detail", time_s=1.0, level=logging.INFO))


def test_a_clock_that_was_set_back_silences_nothing():
    repetitions = RepetitionFilter()
    assert repetitions.filter(record("one", time_s=10_000.0))
    assert repetitions.filter(record("one", time_s=10_000.0 - 2 * INTERVAL_S))


def test_the_filter_stands_before_the_loggers_of_the_client_once(caplog: pytest.LogCaptureFixture):
    logger = logging.getLogger("aiokafka.of_a_test")
    for _ in range(2):
        cap_client_logs()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            logger.error("gone")
    assert [line.getMessage() for line in caplog.records] == ["gone"]
