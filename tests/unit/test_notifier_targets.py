"""Whom a webhook may call."""

import pytest

from notifier.channels.targets import check_addresses, is_allowed, parse_networks, parse_target
from notifier.config import NotifierSettings
from notifier.errors import TargetRefused
from runtime.config import decode_section
from runtime.errors import ConfigError


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1",
        "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.88.99.1",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8",
        "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2002:7f00:1::",
        "2002:a00:1::", "2001:0:5ef5:79fd::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1",
        "fec0::1", "3fff::1", "not an address", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:
    assert not is_allowed(address, ())
    with pytest.raises(TargetRefused):
        check_addresses(["8.8.8.8", address], ())


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "172.32.0.1"]
)
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_allowed(address, ())


def test_the_operator_may_allow_networks_and_their_mapped_form() -> None:
    allowed = parse_networks(["10.1.0.0/16", "fd12::/32"])
    assert is_allowed("10.1.2.3", allowed)
    assert is_allowed("::ffff:10.1.2.3", allowed)
    assert is_allowed("fd12::5", allowed)
    assert not is_allowed("10.2.0.1", allowed)
    assert not is_allowed("127.0.0.1", allowed)


@pytest.mark.parametrize(
    ("url", "port"),
    [("https://example.org/hook?x=1", 443), ("https://example.org:8443/", 8443), ("https://[2606:4700::1]/", 443)],
)
def test_a_url_leads_somewhere(url: str, port: int) -> None:
    assert parse_target(url, ports=(443, 8443), is_http_allowed=False).port == port


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/", "ftp://example.org/", "https://example.org:22/", "https://user@example.org/",
        "https://user:secret@example.org/", "https:///path", "https://", "example.org", "https://example.org:99999/",
        "https://[::1", "file:///etc/passwd", "gopher://example.org/", "https://[fe80::1%25eth0]/", "https://example.org:0/",
    ],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        parse_target(url, ports=(443, 8443), is_http_allowed=False)


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(TargetRefused):
        check_addresses([], ())


@pytest.mark.parametrize(
    "section",
    [
        {"webhook": {"allowed_networks": ["10.0.0.0/33"]}},
        {"webhook": {"ports": [0]}},
        {"lease_s": 10},
        {"email": {"host": "mail.example"}},
        {"email": {"host": "mail.example", "sender": "a@b.example", "user": "u", "security": "none"}},
        {"public_url": "http://pool.example"},
        {"quiet_breakers": ["everything"]},
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(section: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_section({"notifier": section}, "notifier", NotifierSettings, environment={})
    assert caught.value.path.startswith("notifier")
