"""A Bot API of our own: what Telegram's server does with a bot's calls, as published, with faults on request.

Method and field names: https://core.telegram.org/bots/api. Unknown parameters are refused, HTML is parsed, lengths are
counted after parsing, updates are confirmed by offset and repeated until then.
"""

import asyncio
import html
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from aiohttp import web

TOKEN = "123456:TEST-token_of-nobody"
BOT = {"id": 123456, "is_bot": True, "first_name": "Pool", "username": "lode_test_bot"}
TEXT_MAX, CAPTION_MAX, CALLBACK_MAX = 4096, 1024, 64
_SEND = {
    "chat_id": True,
    "message_thread_id": False,
    "parse_mode": False,
    "disable_notification": False,
    "protect_content": False,
    "reply_parameters": False,
    "reply_markup": False,
}
METHODS: dict[str, dict[str, bool]] = {
    "getMe": {},
    "getUpdates": {"offset": False, "limit": False, "timeout": False, "allowed_updates": False},
    "setWebhook": {
        "url": True,
        "certificate": False,
        "ip_address": False,
        "max_connections": False,
        "allowed_updates": False,
        "drop_pending_updates": False,
        "secret_token": False,
    },
    "deleteWebhook": {"drop_pending_updates": False},
    "sendMessage": {**_SEND, "text": True, "entities": False, "link_preview_options": False},
    "editMessageText": {
        "chat_id": False,
        "message_id": False,
        "inline_message_id": False,
        "text": True,
        "parse_mode": False,
        "entities": False,
        "link_preview_options": False,
        "reply_markup": False,
    },
    "editMessageReplyMarkup": {
        "chat_id": False,
        "message_id": False,
        "inline_message_id": False,
        "reply_markup": False,
    },
    "answerCallbackQuery": {
        "callback_query_id": True,
        "text": False,
        "show_alert": False,
        "url": False,
        "cache_time": False,
    },
    "answerInlineQuery": {
        "inline_query_id": True,
        "results": True,
        "cache_time": False,
        "is_personal": False,
        "next_offset": False,
        "button": False,
    },
    "sendPhoto": {**_SEND, "photo": True, "caption": False, "show_caption_above_media": False, "has_spoiler": False},
    "sendDocument": {**_SEND, "document": True, "caption": False, "disable_content_type_detection": False},
    "setMyCommands": {"commands": True, "scope": False, "language_code": False},
    "sendChatAction": {"chat_id": True, "action": True, "message_thread_id": False},
    "getChatMember": {"chat_id": True, "user_id": True},
}
"""Method → its parameters → whether they are needed."""
_TAGS = {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "a", "code", "pre", "blockquote", "tg-spoiler"}
_TOKEN = re.compile(r"<(/?)([a-zA-Z0-9-]*)([^<>]*)>|&(#\d+|#x[0-9a-fA-F]+|[a-zA-Z]+);|([<>])")


class ApiError(Exception):
    """An answer with ok = false."""

    def __init__(self, code: int, description: str, parameters: Mapping[str, object] | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters


class Cut(Exception):
    """The connection ends without an answer."""


@dataclass(kw_only=True)
class Fault:
    """What happens to a call instead of the usual.

    `kind`: "429", "500", "403", "chat not found", "moved", "cut before" (nothing is recorded), "cut after" (it is).
    """

    kind: str
    method: str | None = None
    chat_id: int | None = None
    count: int = 1
    retry_after: int = 1
    new_chat_id: int = 0


@dataclass(kw_only=True)
class SentMessage:
    """A message that a chat has received."""

    chat_id: int
    message_id: int
    method: str
    text: str
    raw: str
    buttons: list[list[dict[str, str]]]
    file_name: str = ""
    file: bytes = b""
    time_s: float = 0.0
    edits: int = 0

    def button(self, part: str) -> str:
        """Return the data of the first button whose text has a part."""
        for row in self.buttons:
            for button in row:
                if part in button["text"]:
                    return button["callback_data"]
        raise AssertionError(f"no button {part!r} in {self.buttons}")


@dataclass(kw_only=True)
class BotApi:
    """The server. `user_…` methods are what people do; `messages`, `answers` and `inline` what they get to see."""

    messages: list[SentMessage] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)
    inline: list[dict[str, object]] = field(default_factory=list)
    commands: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    blocked: set[int] = field(default_factory=set)
    admins: set[tuple[int, int]] = field(default_factory=set)
    has_limits: bool = False
    confirmed: list[int] = field(default_factory=list)
    webhook_tries: int = 0

    def __post_init__(self) -> None:
        self._pending: list[dict[str, object]] = []
        self._next_update = 1000
        self._next_message = 1
        self._news = asyncio.Event()
        self._poll: asyncio.Future[None] | None = None
        self._webhook: dict[str, str] | None = None
        self._deliverer: asyncio.Task[None] | None = None
        self._recent: list[tuple[float, int]] = []
        self.base_url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=50_000_000)
        app.router.add_route("*", "/bot{token}/{method}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/bot"
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._deliverer is not None:
            self._deliverer.cancel()
            await asyncio.gather(self._deliverer, return_exceptions=True)
        self._news.set()
        await self._runner.cleanup()

    # What people do.

    def user_says(self, chat_id: int, text: str, *, language_code: str = "en", user_id: int | None = None) -> int:
        """Send a text to the bot; negative chat ids are groups. Returns the update's number."""
        message = {**self._message_of(chat_id, user_id or abs(chat_id), language_code), "text": text}
        if text.startswith("/"):
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text.split(maxsplit=1)[0])}]
        return self._update({"message": message})

    def user_presses(
        self, message: SentMessage, data: str, *, language_code: str = "en", user_id: int | None = None
    ) -> int:
        """Press a button of a message."""
        chat_id = message.chat_id
        body = self._message_of(chat_id, BOT["id"], "en") | {"message_id": message.message_id, "text": message.text}
        query = {
            "id": f"q{self._next_update}",
            "from": _user(user_id or abs(chat_id), language_code),
            "message": body,
            "chat_instance": "1",
            "data": data,
        }
        return self._update({"callback_query": query})

    def user_asks_inline(self, user_id: int, query: str, *, language_code: str = "en") -> int:
        """Type behind the bot's name in another chat."""
        inline = {"id": f"i{self._next_update}", "from": _user(user_id, language_code), "query": query, "offset": ""}
        return self._update({"inline_query": inline})

    def user_blocks(self, chat_id: int, *, is_told: bool = True) -> None:
        """Block the bot; Telegram tells it, or does not."""
        self.blocked.add(chat_id)
        if is_told:
            member = {"user": BOT}
            change = {
                "chat": _chat(chat_id),
                "from": _user(chat_id, "en"),
                "date": int(time.time()),
                "old_chat_member": {**member, "status": "member"},
                "new_chat_member": {**member, "status": "kicked", "until_date": 0},
            }
            self._update({"my_chat_member": change})

    def group_moves(self, old_id: int, new_id: int) -> None:
        """Turn a group into a supergroup."""
        self._update({"message": {**self._message_of(old_id, 1, "en"), "migrate_to_chat_id": new_id}})

    def malformed(self, body: dict[str, object]) -> int:
        """Send an update that is none."""
        return self._update(body)

    def texts(self, chat_id: int) -> list[str]:
        """Return what a chat has received, as people read it."""
        return [message.text for message in self.messages if message.chat_id == chat_id]

    def last(self, chat_id: int) -> SentMessage:
        """Return a chat's newest message."""
        return [message for message in self.messages if message.chat_id == chat_id][-1]

    def fail(self, kind: str, **more: object) -> None:
        """Let calls fail; see `Fault`."""
        self.faults.append(Fault(kind=kind, **more))

    @property
    def unconfirmed(self) -> list[int]:
        """Return the numbers of updates that the bot has not confirmed."""
        return [int(update["update_id"]) for update in self._pending]

    # The server.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            params, files = await _params(request)
            result = await self._answer(request.match_info["token"], request.match_info["method"], params, files)
            return web.json_response({"ok": True, "result": result})
        except ApiError as error:
            self.refused.append(error.description)
            body: dict[str, object] = {"ok": False, "error_code": error.code, "description": error.description}
            if error.parameters:
                body["parameters"] = error.parameters
            return web.json_response(body, status=error.code)
        except Cut:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _answer(
        self, token: str, method: str, params: dict[str, str], files: dict[str, tuple[str, bytes]]
    ) -> object:
        if token != TOKEN:
            raise ApiError(401, "Unauthorized")
        if method not in METHODS:
            raise ApiError(404, "Not Found")
        known = METHODS[method]
        for name in {*params, *files}:
            if name not in known:
                raise ApiError(400, f"Bad Request: unknown parameter {name}")
        for name, is_needed in known.items():
            if is_needed and name not in params and name not in files:
                raise ApiError(400, f"Bad Request: parameter {name} is required")
        self.calls.append((method, params))
        fault = self._fault(method, params)
        if fault is not None and fault.kind != "cut after":
            _raise(fault)
        result = await self._methods()[method](params, files)
        if fault is not None:
            raise Cut
        return result

    def _methods(self) -> dict[str, Callable]:
        return {
            "getMe": self._get_me,
            "getUpdates": self._get_updates,
            "setWebhook": self._set_webhook,
            "deleteWebhook": self._delete_webhook,
            "sendMessage": self._send_message,
            "sendPhoto": self._send_photo,
            "sendDocument": self._send_document,
            "editMessageText": self._edit_text,
            "editMessageReplyMarkup": self._edit_markup,
            "answerCallbackQuery": self._answer_callback,
            "answerInlineQuery": self._answer_inline,
            "setMyCommands": self._set_commands,
            "sendChatAction": self._chat_action,
            "getChatMember": self._chat_member,
        }

    def _fault(self, method: str, params: dict[str, str]) -> Fault | None:
        for fault in self.faults:
            if fault.method not in (None, method) or method == "getUpdates" != fault.method:
                continue
            if fault.chat_id is not None and str(fault.chat_id) != params.get("chat_id"):
                continue
            fault.count -= 1
            if fault.count <= 0:
                self.faults.remove(fault)
            return fault
        return None

    async def _get_me(self, _params: dict, _files: dict) -> object:
        return {**BOT, "can_join_groups": True, "can_read_all_group_messages": False, "supports_inline_queries": True}

    async def _get_updates(self, params: dict, _files: dict) -> object:
        if self._webhook is not None:
            raise ApiError(409, "Conflict: can't use getUpdates method while webhook is active")
        if self._poll is not None and not self._poll.done():
            self._poll.set_exception(ApiError(409, "Conflict: terminated by other getUpdates request"))
        mine = self._poll = asyncio.get_running_loop().create_future()
        try:
            if "offset" in params:
                offset = int(params["offset"])
                self.confirmed += [number for number in self.unconfirmed if number < offset]
                self._pending = [update for update in self._pending if int(update["update_id"]) >= offset]
            deadline = time.monotonic() + int(params.get("timeout", 0))
            while not self._pending and time.monotonic() < deadline:
                self._news.clear()
                news = asyncio.ensure_future(self._news.wait())
                await asyncio.wait(
                    {news, mine}, timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
                )
                news.cancel()
                if mine.done():
                    mine.result()
            return self._pending[: int(params.get("limit", 100))]
        finally:
            if mine is self._poll:
                self._poll = None

    async def _set_webhook(self, params: dict, _files: dict) -> object:
        secret = params.get("secret_token", "")
        if secret and re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret) is None:
            raise ApiError(400, "Bad Request: secret token contains unallowed characters")
        self._webhook = {"url": params["url"], "secret": secret}
        if self._deliverer is None:
            self._deliverer = asyncio.create_task(self._deliver())
        return True

    async def _delete_webhook(self, _params: dict, _files: dict) -> object:
        self._webhook = None
        return True

    async def _deliver(self) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                if self._webhook is None or not self._pending:
                    self._news.clear()
                    await self._news.wait()
                    continue
                update = self._pending[0]
                self.webhook_tries += 1
                headers = {"X-Telegram-Bot-Api-Secret-Token": self._webhook["secret"]}
                try:
                    async with http.post(self._webhook["url"], json=update, headers=headers) as response:
                        is_taken = 200 <= response.status < 300
                except aiohttp.ClientError:
                    is_taken = False
                if is_taken:
                    self.confirmed.append(int(update["update_id"]))
                    self._pending.remove(update)
                else:
                    await asyncio.sleep(0.05)

    async def _send_message(self, params: dict, _files: dict) -> object:
        return self._record("sendMessage", params, "text", TEXT_MAX)

    async def _send_photo(self, params: dict, files: dict) -> object:
        if "photo" not in files or not files["photo"][1].startswith(b"\x89PNG"):
            raise ApiError(400, "Bad Request: IMAGE_PROCESS_FAILED")
        return self._record("sendPhoto", params, "caption", CAPTION_MAX, files["photo"])

    async def _send_document(self, params: dict, files: dict) -> object:
        if "document" not in files or not files["document"][1]:
            raise ApiError(400, "Bad Request: file must be non-empty")
        return self._record("sendDocument", params, "caption", CAPTION_MAX, files["document"])

    async def _edit_text(self, params: dict, _files: dict) -> object:
        found = self._found(params)
        text = _text(params, "text", TEXT_MAX)
        buttons = _buttons(params)
        if (text, buttons) == (found.text, found.buttons):
            raise ApiError(
                400,
                "Bad Request: message is not modified: specified new message content and reply markup are exactly "
                "the same as a current content and reply markup of the message",
            )
        found.text, found.raw, found.buttons = text, params["text"], buttons
        found.edits += 1
        return self._shown(found)

    async def _edit_markup(self, params: dict, _files: dict) -> object:
        found = self._found(params)
        found.buttons = _buttons(params)
        return self._shown(found)

    async def _answer_callback(self, params: dict, _files: dict) -> object:
        text = params.get("text", "")
        if len(text) > 200:
            raise ApiError(400, "Bad Request: MESSAGE_TOO_LONG")
        self.answers.append((params["callback_query_id"], text))
        return True

    async def _answer_inline(self, params: dict, _files: dict) -> object:
        results = _json(params["results"])
        for result in results:
            _only(result, {"type", "id", "title", "input_message_content", "description", "reply_markup"})
            content = result["input_message_content"]
            _only(content, {"message_text", "parse_mode", "link_preview_options"})
            parsed_length(content["message_text"], content.get("parse_mode", ""), TEXT_MAX)
        self.inline.append({"query": params["inline_query_id"], "results": results, "button": params.get("button")})
        return True

    async def _set_commands(self, params: dict, _files: dict) -> object:
        commands = _json(params["commands"])
        for command in commands:
            _only(command, {"command", "description"})
            if re.fullmatch(r"[a-z0-9_]{1,32}", command["command"]) is None or not command["description"]:
                raise ApiError(400, "Bad Request: BOT_COMMAND_INVALID")
        self.commands[params.get("language_code", "")] = commands
        return True

    async def _chat_action(self, _params: dict, _files: dict) -> object:
        return True

    async def _chat_member(self, params: dict, _files: dict) -> object:
        user_id = int(params["user_id"])
        is_admin = (int(params["chat_id"]), user_id) in self.admins
        return {"user": _user(user_id, "en"), "status": "administrator" if is_admin else "member"}

    def _record(
        self, method: str, params: dict, name: str, chars_max: int, file: tuple[str, bytes] = ("", b"")
    ) -> object:
        chat_id = _number(params["chat_id"])
        if chat_id in self.blocked:
            raise ApiError(403, "Forbidden: bot was blocked by the user")
        self._limit(chat_id)
        if method == "sendMessage" and not params["text"].strip():
            raise ApiError(400, "Bad Request: message text is empty")
        message = SentMessage(
            chat_id=chat_id,
            message_id=self._next_message,
            method=method,
            text=_text(params, name, chars_max),
            raw=params.get(name, ""),
            buttons=_buttons(params),
            file_name=file[0],
            file=file[1],
            time_s=time.monotonic(),
        )
        self._next_message += 1
        self.messages.append(message)
        return self._shown(message)

    def _limit(self, chat_id: int) -> None:
        if not self.has_limits:
            return
        now = time.monotonic()
        self._recent = [(at, chat) for at, chat in self._recent if now - at < 60]
        own = [at for at, chat in self._recent if chat == chat_id]
        if sum(now - at < 1 for at, _ in self._recent) >= 30 or any(now - at < 0.9 for at in own):
            raise ApiError(429, "Too Many Requests: retry after 1", {"retry_after": 1})
        if chat_id < 0 and len(own) >= 20:
            raise ApiError(429, "Too Many Requests: retry after 5", {"retry_after": 5})
        self._recent.append((now, chat_id))

    def _found(self, params: dict) -> SentMessage:
        for message in self.messages:
            if (message.chat_id, message.message_id) == (_number(params["chat_id"]), int(params["message_id"])):
                return message
        raise ApiError(400, "Bad Request: message to edit not found")

    def _shown(self, message: SentMessage) -> dict[str, object]:
        return {
            "message_id": message.message_id,
            "date": int(time.time()),
            "chat": _chat(message.chat_id),
            "from": BOT,
            "text": message.text,
        }

    def _message_of(self, chat_id: int, user_id: int, language_code: str) -> dict[str, object]:
        self._next_message += 1
        return {
            "message_id": self._next_message - 1,
            "date": int(time.time()),
            "chat": _chat(chat_id),
            "from": _user(user_id, language_code),
        }

    def _update(self, body: dict[str, object]) -> int:
        number = self._next_update
        self._next_update += 1
        self._pending.append({"update_id": number, **body})
        self._news.set()
        return number


def parsed_length(text: str, parse_mode: str, chars_max: int) -> str:
    """Return a text without its markup.

    Raises:
        ApiError: When the markup is wrong or the text too long, in Telegram's words.
    """
    if parse_mode not in ("", "HTML"):
        raise ApiError(400, "Bad Request: unsupported parse_mode")
    parsed = _parsed(text) if parse_mode else text
    if len(parsed.encode("utf-16-le")) // 2 > chars_max:
        name = "message is too long" if chars_max == TEXT_MAX else "message caption is too long"
        raise ApiError(400, f"Bad Request: {name}")
    return parsed


def _parsed(text: str) -> str:
    open_tags: list[str] = []
    parts, at = [], 0
    for token in _TOKEN.finditer(text):
        parts.append(text[at : token.start()])
        at = token.end()
        closing, tag, rest, entity, stray = token.groups()
        if stray or (tag is not None and tag.lower() not in _TAGS) or (tag and rest.strip() and tag.lower() != "a"):
            raise ApiError(400, f'Bad Request: can\'t parse entities: Unsupported start tag "{tag or stray}"')
        if entity:
            parts.append(html.unescape(f"&{entity};"))
        elif closing:
            if not open_tags or open_tags.pop() != tag.lower():
                raise ApiError(400, "Bad Request: can't parse entities: Unmatched end tag")
        else:
            open_tags.append(tag.lower())
    if open_tags:
        raise ApiError(400, "Bad Request: can't parse entities: Can't find end tag")
    return "".join(parts) + text[at:]


def _text(params: dict, name: str, chars_max: int) -> str:
    return parsed_length(params.get(name, ""), params.get("parse_mode", ""), chars_max)


def _buttons(params: dict) -> list[list[dict[str, str]]]:
    if "reply_markup" not in params:
        return []
    markup = _json(params["reply_markup"])
    _only(markup, {"inline_keyboard"})
    for row in markup["inline_keyboard"]:
        for button in row:
            _only(button, {"text", "callback_data", "url"})
            if not button["text"] or not 1 <= len(button.get("callback_data", "x").encode()) <= CALLBACK_MAX:
                raise ApiError(400, "Bad Request: BUTTON_DATA_INVALID")
    return markup["inline_keyboard"]


def _only(body: Mapping[str, object], known: set[str]) -> None:
    unknown = set(body) - known
    if unknown:
        raise ApiError(400, f"Bad Request: unknown field {min(unknown)}")


def _json(text: str):
    try:
        return json.loads(text)
    except ValueError:
        raise ApiError(400, "Bad Request: can't parse JSON object") from None


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ApiError(400, "Bad Request: chat not found") from None


def _raise(fault: Fault) -> None:
    match fault.kind:
        case "429":
            description = f"Too Many Requests: retry after {fault.retry_after}"
            raise ApiError(429, description, {"retry_after": fault.retry_after})
        case "500":
            raise ApiError(500, "Internal Server Error")
        case "403":
            raise ApiError(403, "Forbidden: bot was blocked by the user")
        case "chat not found":
            raise ApiError(400, "Bad Request: chat not found")
        case "moved":
            description = "Bad Request: group chat was upgraded to a supergroup chat"
            raise ApiError(400, description, {"migrate_to_chat_id": fault.new_chat_id})
        case "cut before":
            raise Cut
        case _:
            raise AssertionError(fault.kind)


def _user(user_id: int, language_code: str) -> dict[str, object]:
    return {"id": user_id, "is_bot": False, "first_name": "Somebody", "language_code": language_code}


def _chat(chat_id: int) -> dict[str, object]:
    if chat_id < 0:
        return {"id": chat_id, "type": "supergroup", "title": "Miners"}
    return {"id": chat_id, "type": "private", "first_name": "Somebody"}


async def _params(request: web.Request) -> tuple[dict[str, str], dict[str, tuple[str, bytes]]]:
    params: dict[str, str] = dict(request.query)
    files: dict[str, tuple[str, bytes]] = {}
    if request.content_type == "application/json":
        body = await request.json()
        params |= {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
    elif request.can_read_body:
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                files[name] = (value.filename, value.file.read())
            else:
                params[name] = str(value)
    return params, files
