"""The built page is served whole, fast and safely."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.page import CONTENT_POLICY, IMMUTABLE, SECURITY_HEADERS, add_page, read_page
from gateway.problems import problems_middleware

SECRET = b"secret of the operator"
SCRIPT = b"console.log(1)"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "wallet.key").write_bytes(SECRET)
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_bytes(b"<!doctype html><title>page</title>")
    (static / "favicon.svg").write_bytes(b"<svg/>")
    (static / ".inputs").write_bytes(SECRET)
    (static / "assets" / "app-1a2b.js").write_bytes(SCRIPT)
    (static / "assets" / "app-1a2b.js.br").write_bytes(b"brotli bytes")
    (static / "assets" / "app-1a2b.js.gz").write_bytes(b"gzip bytes")
    return static


async def serve(directory: Path) -> TestClient[web.Request, web.Application]:
    app = web.Application(middlewares=[problems_middleware])

    async def pool(_request: web.Request) -> web.Response:
        return web.json_response({"name": "pool"})

    app.router.add_get("/api/v1/pool", pool)
    add_page(app, directory)
    client = TestClient(TestServer(app), auto_decompress=False)
    await client.start_server()
    return client


@pytest.fixture
async def client(directory: Path) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    client = await serve(directory)
    yield client
    await client.close()


@pytest.mark.parametrize("path", ["/", "/connect", "/miner/ltc1qexample", "/blocks/" + "ab" * 32, "/status/"])
async def test_every_client_route_gets_the_page(client, path):
    answer = await client.get(path)
    assert answer.status == 200
    assert await answer.read() == b"<!doctype html><title>page</title>"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.content_type == "text/html"


async def test_a_path_the_page_does_not_know_is_the_page_with_404(client):
    answer = await client.get("/wp-admin")
    assert answer.status == 404
    assert answer.content_type == "text/html"


async def test_every_answer_carries_the_security_headers(client):
    for path in ("/", "/assets/app-1a2b.js", "/nothing", "/a/../b", "/assets/none.js", "/favicon.svg"):
        answer = await client.get(path)
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name] == value, path
    assert "unsafe" not in CONTENT_POLICY
    assert CONTENT_POLICY.startswith("default-src 'self';")


async def test_hashed_files_are_kept_for_ever(client):
    answer = await client.get("/assets/app-1a2b.js")
    assert answer.headers["Cache-Control"] == IMMUTABLE
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    ("accepted", "encoding", "body"),
    [
        ("gzip, deflate, br", "br", b"brotli bytes"),
        ("gzip", "gzip", b"gzip bytes"),
        ("br;q=0, gzip;q=0.5", "gzip", b"gzip bytes"),
        ("identity", None, SCRIPT),
        ("", None, SCRIPT),
        ("br;q=0.000", None, SCRIPT),
        ("br;q=0.001", "br", b"brotli bytes"),
    ],
)
async def test_the_best_encoding_that_the_client_takes_is_sent(client, accepted, encoding, body):
    answer = await client.get("/assets/app-1a2b.js", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == encoding
    assert await answer.read() == body
    assert answer.headers["Vary"] == "Accept-Encoding"


async def test_a_client_that_has_the_file_gets_304(client):
    first = await client.get("/", headers={"Accept-Encoding": "identity"})
    again = await client.get("/", headers={"If-None-Match": first.headers["ETag"], "Accept-Encoding": "identity"})
    assert again.status == 304
    assert await again.read() == b""
    other = await client.get("/assets/app-1a2b.js", headers={"If-None-Match": first.headers["ETag"]})
    assert other.status == 200


async def test_encodings_have_etags_of_their_own(client):
    tags = set()
    for accepted in ("br", "gzip", "identity"):
        answer = await client.get("/assets/app-1a2b.js", headers={"Accept-Encoding": accepted})
        tags.add(answer.headers["ETag"])
    assert len(tags) == 3


async def test_head_has_the_length_and_no_body(client):
    answer = await client.head("/assets/app-1a2b.js", headers={"Accept-Encoding": "identity"})
    assert answer.status == 200
    assert answer.headers["Content-Length"] == str(len(SCRIPT))
    assert await answer.read() == b""


async def raw_get(client, target: str) -> bytes:
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


@pytest.mark.parametrize(
    "target",
    [
        "/../wallet.key",
        "/assets/../../wallet.key",
        "/assets/..%2f..%2fwallet.key",
        "/%2e%2e/wallet.key",
        "/%2e%2e%2fwallet.key",
        "/..%5cwallet.key",
        "/assets/..\\..\\wallet.key",
        "//wallet.key",
        "/assets//app-1a2b.js",
        "/%252e%252e/wallet.key",
        "/index.html%00.js",
        "/assets/app-1a2b.js%00",
        "/.inputs",
        "/./.inputs",
        "/assets/app-1a2b.js.br",
        "/assets/app-1a2b.js.gz",
        "/assets/",
        "/index.html.gz",
        "/%0d%0aSet-Cookie:x",
        "/" + "a/" * 400 + "../wallet.key",
    ],
)
async def test_no_path_leads_out_of_the_page_or_to_what_is_not_its(client, target):
    answer = await raw_get(client, target)
    status = int(answer.split(b" ", 2)[1])
    assert status in (400, 404), target
    assert SECRET not in answer
    assert b"brotli bytes" not in answer
    assert b"gzip bytes" not in answer
    assert b"\r\nSet-Cookie" not in answer


async def test_only_the_files_themselves_have_paths(directory):
    files = read_page(directory)
    assert set(files) == {"/index.html", "/favicon.svg", "/assets/app-1a2b.js"}


async def test_the_api_keeps_its_paths_and_problems(client):
    known = await client.get("/api/v1/pool")
    assert await known.json() == {"name": "pool"}
    unknown = await client.get("/api/v1/nothing", headers={"Accept-Encoding": "identity"})
    assert unknown.status == 404
    assert unknown.content_type == "application/problem+json"


async def test_what_is_not_a_question_is_refused(client):
    answer = await client.post("/connect", data=b"x")
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


async def test_without_a_build_the_page_says_how_to_build_it(tmp_path):
    client = await serve(tmp_path / "none")
    try:
        answer = await client.get("/blocks")
        assert answer.status == 503
        text = await answer.text()
        assert "The page is not built" in text
        assert "make setup" in text
        assert "style" not in text
        assert answer.headers["Content-Security-Policy"] == CONTENT_POLICY
        known = await client.get("/api/v1/pool")
        assert known.status == 200
    finally:
        await client.close()


async def test_the_page_sets_no_cookie(client):
    async with aiohttp.ClientSession() as session:
        url = client.make_url("/")
        async with session.get(url) as answer:
            assert answer.status == 200
            assert "Set-Cookie" not in answer.headers
