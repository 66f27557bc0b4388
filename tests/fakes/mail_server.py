"""A real SMTP server (aiosmtpd) that keeps mail and answers as it is told."""

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


@dataclass
class MailServer:
    """A mail server on 127.0.0.1.

    Attributes:
        port: Where it listens.
        mails: What was taken.
        recipients: To whom, beside each.
        answers: Command ("RCPT", "DATA", "MAIL") → its answer; "" hangs.
        password: Wanted of who logs in; None wants no log-in.
    """

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    password: str | None = None

    async def handle_MAIL(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _o: list[str]
    ) -> str:
        envelope.mail_from = address
        return await self._answer("MAIL")

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _o: list[str]
    ) -> str:
        answer = await self._answer("RCPT")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        answer = await self._answer("DATA")
        if answer.startswith("2"):
            content = envelope.content
            assert isinstance(content, bytes)
            mail = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.recipients.append(list(envelope.rcpt_tos))
        return answer

    async def _answer(self, command: str) -> str:
        answer = self.answers.get(command, "250 OK")
        if not answer:
            await asyncio.Event().wait()
        return answer

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == (self.password or "").encode())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["MailServer"]:
        options: dict[str, Any] = {}
        if self.password is not None:
            options = {"authenticator": self.authenticate, "auth_required": True, "auth_require_tls": False}
        factory: Callable[[], SMTP] = lambda: SMTP(self, hostname="mail.test", **options)  # noqa: E731
        server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
