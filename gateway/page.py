"""The built page over HTTP: known files only, compressed beforehand, under a strict content policy.

The directory is read once, when the page is added: a request is a look-up in a table and never touches a path, so
there is no name that could lead out of the directory.
"""

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ETag, web

STATIC_DIRECTORY: Final = Path(__file__).with_name("static")
"""Where `tools/build_web` puts the page."""
CLIENT_PAGES: Final = frozenset({"", "connect", "miner", "blocks", "payouts", "leaderboard", "status"})
"""First segments of the paths that the page itself knows; it answers others too, as not found."""
HASHED_PREFIX: Final = "/assets/"
"""Files below carry a hash of their content in their name."""
INDEX_PATH: Final = "/index.html"
IMMUTABLE: Final = "public, max-age=31536000, immutable"
REVALIDATE: Final = "no-cache"
CONTENT_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
_RESERVED: Final = ("/api/", "/healthz", "/metrics")
_TRICKS: Final = ("..", "//", "\\", "%00", "%2e", "%2f", "%5c", "%25")
_CONTENT_TYPES: Final = {".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json"}
_TEXT_TYPES: Final = ("text/", "application/manifest+json", "application/json", "image/svg+xml")
_NOT_BUILT: Final = (
    b'<!doctype html><html lang="en"><meta charset="utf-8"><title>Lodepool</title>'
    b"<h1>The page is not built</h1><p>Run <code>make setup</code> and start the pool again. "
    b'The API answers all the same: <a href="/api/v1/pool">/api/v1/pool</a>.</p>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """A file of the page, in memory.

    Attributes:
        content_type: As in the header, with its charset.
        bodies: The bytes by content encoding; "" is the file itself.
        etag: Of the file itself; the encodings add their name.
        is_immutable: Its name changes with its content.
    """

    content_type: str
    bodies: dict[str, bytes]
    etag: str
    is_immutable: bool


def add_page(app: web.Application, directory: Path = STATIC_DIRECTORY) -> None:
    """Serve the page built into `directory` on every path that the application does not know already.

    Call it last: it takes what no earlier route did. Without a build, the page's paths say that it is not built.
    """
    files = read_page(directory)

    async def respond(request: web.Request) -> web.StreamResponse:
        return _respond(request, files)

    app.router.add_get("/{path:.*}", respond)


def read_page(directory: Path) -> dict[str, PageFile]:
    """Return the page's files by the path they are served at; empty when it is not built."""
    if not (directory / INDEX_PATH[1:]).is_file():
        return {}
    found = {f"/{path.relative_to(directory).as_posix()}": path for path in directory.rglob("*") if path.is_file()}
    suffixes = tuple(suffix for _, suffix in _ENCODINGS)
    return {
        served: _read_file(served, path)
        for served, path in found.items()
        if not served.endswith(suffixes) and not path.name.startswith(".")
    }


def _read_file(served: str, path: Path) -> PageFile:
    content = path.read_bytes()
    bodies = {"": content}
    for encoding, suffix in _ENCODINGS:
        compressed = path.with_name(path.name + suffix)
        if compressed.is_file():
            bodies[encoding] = compressed.read_bytes()
    guessed = _CONTENT_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if guessed.startswith(_TEXT_TYPES) else ""
    return PageFile(
        content_type=guessed + charset,
        bodies=bodies,
        etag=hashlib.blake2b(content, digest_size=12).hexdigest(),
        is_immutable=served.startswith(HASHED_PREFIX),
    )


def _respond(request: web.Request, files: dict[str, PageFile]) -> web.Response:
    raw_path = request.rel_url.raw_path
    if request.path.startswith(_RESERVED):
        raise web.HTTPNotFound
    if any(trick in raw_path.lower() for trick in _TRICKS) or not request.path.isprintable():
        return _plain(404, b"There is nothing of this name here.\n", "text/plain; charset=utf-8")
    if not files:
        response = _plain(503, _NOT_BUILT, "text/html; charset=utf-8")
        response.headers["Retry-After"] = "60"
        return response
    file = files.get(request.path)
    if file is not None:
        return _file_response(request, file, status=200)
    segments = request.path.strip("/").split("/")
    if request.path.startswith(HASHED_PREFIX) or (len(segments) == 1 and "." in segments[0]):
        return _plain(404, b"There is no such file.\n", "text/plain; charset=utf-8")
    return _file_response(request, files[INDEX_PATH], status=200 if segments[0] in CLIENT_PAGES else 404)


def _file_response(request: web.Request, file: PageFile, *, status: int) -> web.Response:
    accepted = _accepted_encodings(request.headers.get("Accept-Encoding", ""))
    encoding = next((name for name, _ in _ENCODINGS if name in file.bodies and name in accepted), "")
    etag = f"{file.etag}-{encoding}" if encoding else file.etag
    known = request.if_none_match or ()
    if status == 200 and any(entry.value in (etag, "*") for entry in known):
        response = web.Response(status=304)
    else:
        response = web.Response(status=status, body=file.bodies[encoding])
        response.headers["Content-Type"] = file.content_type
        if encoding:
            response.headers["Content-Encoding"] = encoding
    response.etag = ETag(value=etag)
    response.headers["Cache-Control"] = IMMUTABLE if file.is_immutable else REVALIDATE
    response.headers["Vary"] = "Accept-Encoding"
    response.headers.update(SECURITY_HEADERS)
    return response


def _accepted_encodings(header: str) -> set[str]:
    """Return the encodings a client takes: those it lists, but not with a weight of zero."""
    accepted = set()
    for part in header.lower().split(","):
        name, _, parameter = part.partition(";")
        weight = parameter.replace(" ", "")
        if not (weight.startswith("q=0") and not weight.strip("q=0.")):
            accepted.add(name.strip())
    return accepted


def _plain(status: int, body: bytes, content_type: str) -> web.Response:
    headers = {"Content-Type": content_type, "Cache-Control": "no-store"} | SECURITY_HEADERS
    return web.Response(status=status, body=body, headers=headers)
