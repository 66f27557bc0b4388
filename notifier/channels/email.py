"""Electronic mail: one plain and HTML mail a message, through the operator's mail server."""

import html
import logging
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import Final

import aiosmtplib

from notifier.channels.interface import Message, Outcome, Pace, Refused, RetryAfter, Scope, Sent
from notifier.config import EmailSettings
from notifier.domain import mail_problem
from notifier.rendering import Markup, harmless, render
from notifier.texts import LANGUAGES
from runtime.clock import Clock
from runtime.errors import ConfigError
from runtime.logs import log_event

_log = logging.getLogger("lodepool.notifier")

INTERVAL_MS: Final = 1000
SERVER_WAIT_S: Final = 30.0
"""How long the channel rests when the mail server itself is away or refuses us."""
_GONE: Final = frozenset({550, 551, 553, 556})
"""Answers to the recipient's name that say that nothing will ever arrive. Source: RFC 5321, 4.2.3; RFC 7504."""
_SUBJECT_CHARS_MAX: Final = 150


class EmailChannel:
    """Sends mail.

    Args:
        settings: The `[notifier.email]` section, with a host.
        public_url: Where the link that ends a subscription leads; "" for none.
        clock: The time.
        tls: For tests; None trusts what the system trusts.

    Raises:
        ConfigError: When the password's file cannot be read or our address is none.
    """

    def __init__(
        self, settings: EmailSettings, *, public_url: str, clock: Clock, tls: ssl.SSLContext | None = None
    ) -> None:
        if mail_problem(settings.sender):
            raise ConfigError("notifier.email.sender", mail_problem(settings.sender), "pool@example.org")
        self._settings = settings
        self._public_url = public_url.rstrip("/")
        self._clock = clock
        self._tls = tls
        self._password = _password(settings)
        self._domain = settings.sender.rpartition("@")[2]

    @property
    def pace(self) -> Pace:
        """Return how fast it may be used."""
        return Pace(
            per_s=self._settings.per_s,
            burst=self._settings.concurrent_max,
            target_interval_ms=lambda _address: INTERVAL_MS,
            concurrent_max=self._settings.concurrent_max,
        )

    @property
    def timeout_s(self) -> float:
        """Return how long one mail may take."""
        return self._settings.timeout_s

    async def send(self, message: Message) -> Outcome:
        """Send one mail."""
        recipient = message.subscription.address
        if mail_problem(recipient):
            return Refused(reason=mail_problem(recipient), pause_subscription=True)
        mail = self.compose(message)
        server = aiosmtplib.SMTP(
            hostname=self._settings.host,
            port=self._settings.port,
            use_tls=self._settings.security == "tls",
            start_tls=self._settings.security == "starttls",
            username=self._settings.user or None,
            password=self._password or None,
            tls_context=self._tls,
            timeout=self._settings.timeout_s / 2,
        )
        try:
            await server.connect()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            server.close()
            return _server_problem(error)
        try:
            _, answer = await server.sendmail(self._settings.sender, [recipient], mail.as_bytes(policy=SMTP))
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _judged(error.recipients[0].code, error.recipients[0].message, is_recipient=True)
        except aiosmtplib.SMTPSenderRefused as error:
            # Our own address: everybody's mail would be refused.
            return _server_problem(error)
        except aiosmtplib.SMTPResponseException as error:
            return _judged(error.code, error.message, is_recipient=False)
        except (aiosmtplib.SMTPException, OSError) as error:
            return RetryAfter(reason=f"the mail server went away: {type(error).__name__}")
        finally:
            server.close()
        return Sent(reference=harmless(answer, chars_max=200))

    async def close(self) -> None:
        """Do nothing: each mail has its own connection."""

    def compose(self, message: Message) -> EmailMessage:
        """Return the mail. Its Message-ID is the same at every try, so mailboxes can drop repetitions."""
        subscription = message.subscription
        words = LANGUAGES[subscription.language].words

        def rendered(markup: Markup) -> tuple[str, str]:
            found = render(
                message.notices, language=subscription.language, time_zone=subscription.time_zone, markup=markup
            )
            return found.title, found.text

        title, plain = rendered(Markup.PLAIN)
        _, marked = rendered(Markup.HTML)
        mail = EmailMessage(policy=SMTP)
        mail["From"] = Address(
            harmless(self._settings.sender_name, chars_max=_SUBJECT_CHARS_MAX), addr_spec=self._settings.sender
        )
        mail["To"] = Address(addr_spec=subscription.address)
        mail["Subject"] = harmless(title, chars_max=_SUBJECT_CHARS_MAX)
        mail["Date"] = formatdate(self._clock.now_s())
        mail["Message-ID"] = f"<{message.key}@{self._domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail["Content-Language"] = subscription.language
        link = ""
        if self._public_url and message.unsubscribe_token:
            # One click, without a log-in. Source: RFC 8058.
            link = f"{self._public_url}/unsubscribe/{message.unsubscribe_token}"
            mail["List-Unsubscribe"] = f"<{link}>"
            mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        footer = words["why"] + (f"\n{words['unsubscribe']}: {link}" if link else "")
        mail.set_content(f"{plain}\n\n-- \n{footer}\n")
        marked_footer = html.escape(words["why"])
        if link:
            marked_footer += f'<br><a href="{html.escape(link)}">{html.escape(words["unsubscribe"])}</a>'
        broken = marked.replace("\n", "<br>\n")
        mail.add_alternative(
            f'<!DOCTYPE html>\n<html lang="{subscription.language}"><body>\n<p>{broken}</p>\n'
            f"<p><small>{marked_footer}</small></p>\n</body></html>\n",
            subtype="html",
        )
        return mail


def _judged(code: int, answer: str, *, is_recipient: bool) -> Outcome:
    reason = f"the mail server answered {code} {harmless(str(answer), chars_max=200)}"
    if code == 421:
        return RetryAfter(after_s=SERVER_WAIT_S, reason=reason, scope=Scope.CHANNEL)
    if 400 <= code < 500:
        return RetryAfter(reason=reason)
    return Refused(reason=reason, pause_subscription=is_recipient and code in _GONE)


def _server_problem(error: Exception) -> RetryAfter:
    """Return that the server itself is the problem: everything waits, and nothing wears out."""
    reason = f"the mail server does not take mail: {type(error).__name__}: {harmless(str(error), chars_max=200)}"
    log_event(_log, logging.WARNING, "mail server refused", error=reason)
    return RetryAfter(after_s=SERVER_WAIT_S, reason=reason, scope=Scope.CHANNEL)


def _password(settings: EmailSettings) -> str:
    if settings.password or not settings.password_file:
        return settings.password
    try:
        return Path(settings.password_file).read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError):
        path = "notifier.email.password_file"
        raise ConfigError(path, "cannot be read, or is empty", "a file with the password") from None
