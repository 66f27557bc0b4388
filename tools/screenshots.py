"""Photograph every page at three widths, in both themes and languages, and check each for accessibility.

    .venv/bin/python -m tools.screenshots [--out build/screenshots] [--page NAME] [--width 390] [--theme dark]
        [--language ru] [--scenario full|empty|degraded] [--address ADDRESS --api http://127.0.0.1:8080]

Serves the built page as the gateway does, with the same headers, in front of the generated API of web/dev, so that what
the content policy forbids shows up here; or looks at a real gateway's own page. Ends with 1 when a page logs an error,
is wider than its window, jumps while loading, asks another server, or breaks an accessibility rule seriously. Needs the
Python package playwright and Debian's chromium.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp import web
from playwright.async_api import Browser, async_playwright

from gateway.page import add_page

ROOT = Path(__file__).resolve().parent.parent
AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = (390, 820, 1440)
Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
LANGUAGES = ("en", "ru")
SERIOUS = {"serious", "critical"}
FIRST_LOAD_BYTES_MAX = 250_000
LAYOUT_SHIFT_MAX = 0.1
STARTUP_S = 20.0
LAYOUT_SHIFTS = """new Promise(done => {
  let sum = 0
  const names = []
  new PerformanceObserver(list => {
    for (const entry of list.getEntries()) {
      if (entry.hadRecentInput) continue
      sum += entry.value
      names.push(...entry.sources.map(source => source.node?.className || source.node?.nodeName))
    }
  }).observe({type: 'layout-shift', buffered: true})
  requestAnimationFrame(() => requestAnimationFrame(() => done([sum, names.slice(0, 6).join(' ')])))
})"""


def find_chromium() -> str | None:
    """Return Debian's browser, installed where that is allowed; None where it cannot be had."""
    known = shutil.which("chromium")
    if known or not shutil.which("apt-get"):
        return known
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if prefix and not shutil.which("sudo"):
        return None
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]):
        # The commands are written here; nothing of them comes from elsewhere.
        done = subprocess.run([*prefix, *command], capture_output=True, check=False)
        if done.returncode != 0:
            return None
    return shutil.which("chromium")


async def start_mock(stack: AsyncExitStack, scenario: str) -> tuple[str, str, str]:
    """Start the generated API; return its URL, and an address and a block that it knows."""
    process = await asyncio.create_subprocess_exec(
        "node", str(ROOT / "web/dev/mock.mjs"), "--scenario", scenario, stdout=asyncio.subprocess.PIPE
    )

    async def stop() -> None:
        process.terminate()
        await process.wait()

    stack.push_async_callback(stop)
    assert process.stdout is not None
    told = json.loads(await asyncio.wait_for(process.stdout.readline(), STARTUP_S))
    return f"http://127.0.0.1:{told['port']}", told["address"], told["blockHash"]


async def serve_page(stack: AsyncExitStack, api: str) -> str:
    """Serve the built page in front of an API; return the URL."""
    session = await stack.enter_async_context(aiohttp.ClientSession())
    app = web.Application()

    async def pass_on(request: web.Request) -> web.StreamResponse:
        url = api + request.path_qs
        async with session.request(request.method, url, data=await request.read(), allow_redirects=False) as answer:
            headers = {"Content-Type": answer.headers.get("Content-Type", "application/json")}
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)

    async def pass_live(request: web.Request) -> web.StreamResponse:
        server = web.WebSocketResponse()
        await server.prepare(request)
        try:
            async with session.ws_connect(f"{api}/api/v1/ws") as client:
                async for message in server:
                    await client.send_str(message.data)
                    break
                async for message in client:
                    await server.send_str(message.data)
        except (aiohttp.ClientError, ConnectionResetError):
            pass
        return server

    app.router.add_get("/api/v1/ws", pass_live)
    app.router.add_route("*", "/api/{rest:.*}", pass_on)
    add_page(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def photograph(
    browser: Browser, url: str, out: Path | None, *, page_name: str, path: str, width: int, theme: Theme, language: str
) -> list[str]:
    """Look at one page as somebody who comes to it, and photograph it into a folder; return what is wrong with it."""
    context = await browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=theme,
        locale={"en": "en-GB", "ru": "ru-RU"}[language],
        timezone_id="Europe/Berlin",
        reduced_motion="reduce",
        bypass_csp=False,
    )
    faults: list[str] = []
    page = await context.new_page()
    page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
    expected_404 = page_name in ("missing", "unknown")

    def heard(kind: str, text: str) -> None:
        is_expected = "Failed to load resource" in text and (expected_404 or "503" in text)
        if kind in ("error", "warning") and not is_expected:
            faults.append(f"console {kind}: {text}")

    page.on("console", lambda message: heard(message.type, message.text))
    loaded = 0

    def count(size: int) -> None:
        nonlocal loaded
        loaded += size

    session = await context.new_cdp_session(page)
    await session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: count(int(event["encodedDataLength"])))
    page.on(
        "request",
        lambda request: faults.append(f"foreign: {request.url}") if not request.url.startswith(url) else None,
    )
    await page.goto(url + path)
    await page.wait_for_selector("h1")
    await page.wait_for_function("() => document.querySelectorAll('.skeleton').length === 0", timeout=15_000)
    if page_name == "overview":
        await page.wait_for_selector(".feed, .state, .note")
    if page_name == "connect":
        await page.wait_for_function("() => document.querySelector('.sight')", timeout=10_000)
    if page_name == "settings":
        await page.locator(".choices button").last.click()
        await page.locator(".settings input[type=checkbox]").check()
        await page.wait_for_selector("fieldset pre")
    if loaded > FIRST_LOAD_BYTES_MAX:
        faults.append(f"first load is {loaded} bytes")
    overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if overflow > 0:
        faults.append(f"{overflow} px wider than the window")
    shift = await page.evaluate(LAYOUT_SHIFTS)
    if shift[0] > LAYOUT_SHIFT_MAX:
        faults.append(f"layout shifts by {shift[0]:.2f}: {shift[1]}")
    await page.evaluate("scrollTo(0, 0)")
    if out is not None:
        await page.screenshot(path=out / f"{page_name}-{width}-{theme}-{language}.png", full_page=True)
    # The tool evaluates axe in the debugger's world: the page's own policy stays as strict as it is.
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    faults += [
        f"axe {violation['id']} ({violation['impact']}): {node['html'][:140]}"
        for violation in result["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"][:3]
    ]
    await context.close()
    return faults


async def run(options: argparse.Namespace) -> int:
    out = Path(options.out)
    found = 0
    async with AsyncExitStack() as stack:
        if options.api:
            url, address, block_hash = options.api.rstrip("/"), options.address, options.block
        else:
            api, address, block_hash = await start_mock(stack, options.scenario)
            url = await serve_page(stack, api)
        pages = {
            "overview": "/",
            "connect": "/connect",
            "miner": f"/miner/{address}",
            "settings": f"/miner/{address}",
            "unknown": f"/miner/{address[:-4]}aaaa",
            "blocks": "/blocks",
            "block": f"/blocks/{block_hash}",
            "payouts": "/payouts",
            "leaderboard": "/leaderboard",
            "status": "/status",
            "missing": "/nowhere",
        }
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        stack.push_async_callback(browser.close)
        shots = [
            (page_name, path, width, theme, language)
            for page_name, path in pages.items()
            for width in WIDTHS
            for theme in THEMES
            for language in LANGUAGES
            if (not options.page or page_name in options.page.split(","))
            and (not options.width or width == options.width)
            and options.theme in ("", theme)
            and options.language in ("", language)
        ]
        for page_name, path, width, theme, language in shots:
            faults = await photograph(
                browser, url, out, page_name=page_name, path=path, width=width, theme=theme, language=language
            )
            found += len(faults)
            for fault in faults:
                print(f"{page_name} {width} {theme} {language}: {fault}")
    print(f"{len(shots)} pictures in {out}, {found} faults")
    return 1 if found else 0


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=str(ROOT / "build/screenshots"))
    parser.add_argument("--page", default="", help="only these, separated by commas")
    parser.add_argument("--width", type=int, default=0)
    parser.add_argument("--theme", default="", choices=["", *THEMES])
    parser.add_argument("--language", default="", choices=["", *LANGUAGES])
    parser.add_argument("--scenario", default="full", choices=["full", "empty", "degraded"])
    parser.add_argument("--api", default="", help="a gateway's URL instead of generated data")
    parser.add_argument("--address", default="")
    parser.add_argument("--block", default="")
    options = parser.parse_args()
    Path(options.out).mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(run(options)))


if __name__ == "__main__":
    main()
