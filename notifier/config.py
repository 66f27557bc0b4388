"""Settings of the notifier."""

import ipaddress
from typing import Annotated, ClassVar, Literal

import msgspec

from notifier.notices import Kind
from notifier.telegram_settings import CHANNEL_TIMEOUT_S, TelegramSettings

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1000)]


class EmailSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[notifier.email]` section.

    Attributes:
        host: The mail server that takes our mail; empty: no mail is sent.
        port: Its port.
        security: "starttls", "tls" from the first byte, or "none", which is refused with a user name.
        user: To log in with; empty: without.
        password: Only from the environment, LODEPOOL_NOTIFIER_EMAIL_PASSWORD, and never in etcd.
        password_file: Or the first line of a file.
        sender: Our address, "pool@example.org".
        sender_name: The name beside it.
        timeout_s: How long one mail may take.
        per_s: Mails a second.
        concurrent_max: Mails under way at once.
    """

    host: str = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: str = ""
    password_file: str = ""
    sender: str = ""
    sender_name: str = "Lodepool"
    timeout_s: Seconds = 20.0
    per_s: Rate = 10.0
    concurrent_max: Annotated[int, msgspec.Meta(ge=1, le=100)] = 4


class WebhookSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[notifier.webhook]` section.

    Attributes:
        is_enabled: Whether webhooks are called.
        timeout_s: How long one call may take, from the look-up of the name to the end of the answer.
        per_s: Calls a second.
        concurrent_max: Calls under way at once.
        is_http_allowed: Whether addresses may be http:// as well.
        ports: Ports that may be called.
        allowed_networks: Networks that may be called though they are private, loopback, link-local or otherwise not
            the public internet, such as "10.1.2.0/24".
        secret_overlap_h: Hours for which messages carry the old secret's signature too after a rotation.
    """

    is_enabled: bool = True
    timeout_s: Seconds = 10.0
    per_s: Rate = 50.0
    concurrent_max: Annotated[int, msgspec.Meta(ge=1, le=200)] = 20
    is_http_allowed: bool = False
    ports: tuple[Annotated[int, msgspec.Meta(ge=1, le=65_535)], ...] = (443, 8443)
    allowed_networks: tuple[str, ...] = ()
    secret_overlap_h: Annotated[int, msgspec.Meta(ge=0, le=720)] = 24

    def __post_init__(self) -> None:
        """Refuse networks that are none."""
        for text in self.allowed_networks:
            ipaddress.ip_network(text)


class NotifierSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[notifier]` section.

    Attributes:
        attempts_max: A notice is given up after so many failed tries.
        retry_s_min: Seconds until the second try; doubled each time.
        retry_s_max: Seconds between two tries at most.
        give_up_s: A notice that could not be delivered for so long is given up in any case.
        lease_s: How long a process has for a message; longer than any channel's timeout_s. What a process that died
            was sending is taken over after it.
        stale_s: A worker's state, a hashrate or rejects that are older when they are read are not told any more.
        keep_days: Days for which deliveries are kept.
        quiet_breakers: Kinds that are told in quiet hours and past digests too.
        public_url: Where people's browsers reach listen_port, "https://pool.example.org/notify"; for the link in
            mails that ends a subscription. Empty: mails have none.
        listen_host: Where that is listened on.
        listen_port: Its port; 0: not at all.
        email: The mail channel.
        webhook: The webhook channel.
        telegram: The bot, which is the Telegram channel too.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset(
        {"attempts_max", "retry_s_min", "retry_s_max", "give_up_s", "stale_s", "keep_days", "quiet_breakers"}
    )

    attempts_max: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10
    retry_s_min: Seconds = 5.0
    retry_s_max: Seconds = 900.0
    give_up_s: Annotated[int, msgspec.Meta(ge=60, le=2_592_000)] = 172_800
    lease_s: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 60
    stale_s: Annotated[int, msgspec.Meta(ge=60, le=2_592_000)] = 21_600
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 30
    quiet_breakers: tuple[Kind, ...] = (Kind.TROUBLE,)
    public_url: str = ""
    listen_host: str = "127.0.0.1"
    listen_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    email: EmailSettings = EmailSettings()
    webhook: WebhookSettings = WebhookSettings()
    telegram: TelegramSettings = TelegramSettings()

    def __post_init__(self) -> None:
        """Refuse settings that contradict one another."""
        if self.lease_s <= max(self.email.timeout_s, self.webhook.timeout_s, CHANNEL_TIMEOUT_S):
            raise ValueError("lease_s must be longer than any channel's timeout_s")
        if self.email.host and not self.email.sender:
            raise ValueError("email.sender is needed with email.host")
        if self.email.user and self.email.security == "none":
            raise ValueError("email.security must not be none with a user")
        if self.public_url and not self.public_url.startswith("https://"):
            raise ValueError("public_url must begin with https://")
