"""The page in a browser, in front of a whole pool: what it shows, and that it shows it as it happens."""

import asyncio
import base64
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from playwright.async_api import Browser, Page, async_playwright, expect

from cli.directory import local_directory
from cli.following import LiveSections
from cli.mining.client import Miner, MinerSettings
from coins import registry
from coins.bitcoin.address import encode
from coins.bitcoin.message import hash160, is_signed_by, message_hash
from coins.coin import AddressKind
from gateway.app import make_app
from gateway.context import Gateway
from gateway.main import make_runner
from gateway.page import INDEX_PATH, STATIC_DIRECTORY, add_page
from gateway.sources import Sources
from nodes.simulated import SimulatedNode
from nodes.simulated_server import SimulatedServer
from runtime.clock import SystemClock
from runtime.rpc.client import RpcClients, StaticDirectory
from tests.e2e.conftest import RunningPool, running_pool, until
from tools.screenshots import AXE, FLAGS, Theme, find_chromium, photograph

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (STATIC_DIRECTORY / INDEX_PATH[1:]).is_file() or not AXE.is_file(),
        reason="missing component: the built page (make setup)",
    ),
]

COIN = registry.get("litecoin-regtest")
NBITS = 0x20020000
"""A block every 128 hashes on average: seldom enough to be looked at, soon enough to be waited for."""
HOSTILE = "<img src=x onerror=alert(1)>&lt;b&gt;\"'{{7*7}}"
KEY = ec.derive_private_key(0xC0FFEE, ec.SECP256K1())
SHAPES: tuple[tuple[int, Theme, str], ...] = ((390, "dark", "ru"), (1440, "light", "en"))
"""Width, theme, language; `make screenshots` looks at every page in all of them, here the data is real."""
PAGES_AT_ONCE = 3
SECTIONS: dict[str, dict[str, object]] = {
    "stratum": {"difficulty_start": 0.00001, "difficulty_min": 0.00001, "difficulty_max": 0.00001, "worker_count": 1},
    "rewards": {"confirmations_poll_s": 0.5, "pplns_window_percent": 2000},
    "payouts": {"threshold_atomic": 1_000_000, "interval_s": 1, "confirmations": 1},
}


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = key.public_key().public_numbers()
    return bytes([2 + (numbers.y & 1)]) + numbers.x.to_bytes(32, "big")


OWNER = encode(COIN, AddressKind.P2WPKH, hash160(_public(KEY)))


def sign(text: str) -> str:
    """Return the signature that the owner's wallet makes."""
    digest = message_hash(COIN.message_magic or "", text.encode())
    r, s = utils.decode_dss_signature(KEY.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256()))))
    body = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    signatures = [base64.b64encode(bytes([39 + number]) + body).decode() for number in range(4)]
    return next(each for each in signatures if is_signed_by(COIN, address=OWNER, message=text, signature=each))


@dataclass(kw_only=True)
class World:
    """A pool that mines, and a browser.

    Attributes:
        pool: Serves the page.
        node: Its chain.
        browser: Opens pages.
        url: Where the page is.
        http: Asks the API.
        watched: The owner's page, opened before "rig2" was silent for long.
        block_hash: Of a block that has been shared out.
        other: An address beside the owner's.
    """

    pool: RunningPool
    node: SimulatedNode
    browser: Browser
    url: str
    http: aiohttp.ClientSession
    other: str
    watched: Page | None = None
    block_hash: str = ""

    async def ask(self, path: str) -> Any:
        """Ask the API."""
        async with self.http.get(f"{self.url}/api/v1{path}") as response:
            return await response.json()

    async def ask_until(
        self, path: str, is_right: Callable[[Any], object], *, has_new_blocks: bool = False, timeout_s: float = 90
    ) -> Any:
        """Ask the API until its answer is right; others may find a block between two questions."""
        answer = None
        try:
            async with asyncio.timeout(timeout_s):
                while not is_right(answer := await self.ask(path)):
                    await asyncio.sleep(0.3)
                    if has_new_blocks:
                        self.node.mine_block()
        except TimeoutError:
            raise AssertionError(f"waited {timeout_s} s for {path}: {str(answer)[:2000]}") from None
        return answer

    def miner(self, address: str, worker: str, *, hashrate: float) -> Miner:
        """Return a miner that is not started."""
        return Miner(
            MinerSettings(
                host="127.0.0.1",
                port=self.pool.settings.stratum.port,
                user=f"{address}.{worker}",
                algorithm=COIN.algorithm,
                hashrate_max=hashrate,
            )
        )

    @asynccontextmanager
    async def mining(self, *miners: Miner) -> AsyncIterator[None]:
        """Mine for as long as the context lasts."""
        tasks = [asyncio.create_task(miner.run()) for miner in miners]
        try:
            yield
        finally:
            for miner in miners:
                miner.stop()
            await asyncio.gather(*tasks)

    @asynccontextmanager
    async def open(self, path: str, *, language: str = "en", url: str = "") -> AsyncIterator[Page]:
        """Open a page that must not be left, log an error or ask another server; the language is the browser's."""
        context = await self.browser.new_context(locale={"en": "en-GB", "ru": "ru-RU"}[language])
        page = await context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
        page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
        page.on("request", lambda asked: None if asked.url.startswith(url or self.url) else faults.append(asked.url))
        await page.goto((url or self.url) + path)
        await page.wait_for_selector("h1")
        await page.evaluate("window.isSamePage = true")
        yield page
        assert await page.evaluate("window.isSamePage"), "the page was loaded again"
        assert not faults
        await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    chromium = await asyncio.to_thread(find_chromium)
    if chromium is None:
        pytest.skip("missing component: chromium")
    node = SimulatedNode(COIN, seed="page", clock=SystemClock(), nbits=NBITS)
    other = SimulatedNode(COIN, seed="miner", clock=SystemClock()).wallet.new_address()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SimulatedServer(node))
        pool = await stack.enter_async_context(
            running_pool(
                tmp_path_factory.mktemp("page"),
                coin=COIN.coin_id,
                address=node.wallet.new_address(),
                nodes=[server.settings(name="sim")],
                sections=SECTIONS,
            )
        )
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        stack.push_async_callback(browser.close)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        url = f"http://127.0.0.1:{pool.settings.gateway.port}"
        found = World(pool=pool, node=node, browser=browser, url=url, http=http, other=other)
        await mine_a_past(found)
        found.watched = await stack.enter_async_context(found.open(f"/miner/{OWNER}"))
        await expect(found.watched.locator(".cards tr", has_text="rig2").locator(".dot-good")).to_be_visible()
        await settle_a_past(found)
        await stack.enter_async_context(
            found.mining(found.miner(OWNER, "rig1", hashrate=3), found.miner(other, HOSTILE, hashrate=1))
        )
        yield found


async def mine_a_past(world: World) -> None:
    """Mine until blocks are found; "rig2" then falls silent."""
    miners = (world.miner(OWNER, "rig2", hashrate=40), world.miner(world.other, HOSTILE, hashrate=20))
    async with world.mining(*miners):
        await until(lambda: miners[0].stats.accepted > 150, timeout_s=60, what="shares")
        await world.ask_until("/blocks", lambda answer: len(answer.get("blocks", ())) >= 3)


async def settle_a_past(world: World) -> None:
    """Let others mine until the blocks are mature and paid."""
    for _ in range(COIN.maturity_blocks + 2):
        world.node.mine_block()
    blocks = await world.ask_until("/blocks?status=mature", lambda answer: answer["blocks"])
    world.block_hash = blocks["blocks"][-1]["block_hash"]
    await world.ask_until(
        "/payouts", lambda answer: any(one["status"] == "confirmed" for one in answer["payouts"]), has_new_blocks=True
    )


async def test_every_page_is_sound_in_both_languages_and_themes_on_phone_and_desktop(world: World) -> None:
    """No error, no breach of the policy, nothing from elsewhere, no overflow, accessible, a small first load."""
    pages = {
        "overview": "/",
        "connect": "/connect",
        "miner": f"/miner/{OWNER}",
        "settings": f"/miner/{OWNER}",
        "blocks": "/blocks",
        "block": f"/blocks/{world.block_hash}",
        "payouts": "/payouts",
        "leaderboard": "/leaderboard",
        "status": "/status",
        "missing": "/nowhere",
    }
    places = asyncio.Semaphore(PAGES_AT_ONCE)
    out = os.environ.get("LODEPOOL_PAGE_PICTURES")

    async def look(page_name: str, path: str, width: int, theme: Theme, language: str) -> list[str]:
        async with places:
            faults = await photograph(
                world.browser, world.url, Path(out) if out else None,
                page_name=page_name, path=path, width=width, theme=theme, language=language,
            )  # fmt: skip
            return [f"{page_name} {width} {theme} {language}: {fault}" for fault in faults]

    found = await asyncio.gather(*(look(name, path, *shape) for name, path in pages.items() for shape in SHAPES))
    assert not [fault for faults in found for fault in faults]


async def test_a_new_block_and_a_new_payout_appear_without_a_reload(world: World) -> None:
    """The live feed of the overview, the list of blocks and the list of payouts, each in an open page."""
    async with (
        world.open("/") as overview,
        world.open("/blocks", language="ru") as blocks,
        world.open("/payouts") as payouts,
    ):
        for page in (overview, blocks, payouts):
            await expect(page.locator(".live-live")).to_be_visible(timeout=15_000)
        newest = (await world.ask("/blocks"))["blocks"][0]
        paid = {one["payout_id"] for one in (await world.ask("/payouts"))["payouts"]}
        async with world.mining(world.miner(world.other, "digger", hashrate=60)):
            answer = await world.ask_until("/blocks", lambda answer: answer["blocks"][0]["height"] > newest["height"])
        block = next(one for one in reversed(answer["blocks"]) if one["height"] > newest["height"])
        link = f"a[href='/blocks/{block['block_hash']}']"
        await expect(overview.locator(f".feed {link}")).to_be_visible(timeout=15_000)
        await expect(overview.locator(f".cards {link}")).to_be_visible(timeout=15_000)
        await expect(blocks.locator(f".cards {link}")).to_be_visible(timeout=15_000)

        for _ in range(COIN.maturity_blocks + 2):
            world.node.mine_block()
        answer = await world.ask_until(
            "/payouts",
            lambda answer: any(one["payout_id"] not in paid and one["txid"] for one in answer["payouts"]),
            has_new_blocks=True,
        )
        payout = next(one for one in answer["payouts"] if one["payout_id"] not in paid and one["txid"])
        await expect(overview.locator(".feed .feed-payout_sent").first).to_be_visible(timeout=15_000)
        await expect(payouts.locator(".cards tbody tr").nth(len(paid))).to_be_visible(timeout=15_000)
        await expect(payouts.locator(".cards tbody tr", has_text=payout["txid"][:8]).first).to_be_visible(
            timeout=15_000
        )
        await world.ask_until(
            "/payouts",
            lambda answer: all(
                one["status"] == "confirmed" for one in answer["payouts"] if one["txid"] == payout["txid"]
            ),
            has_new_blocks=True,
        )
        await expect(overview.locator(".feed .feed-payout_confirmed").first).to_be_visible(timeout=15_000)


async def test_a_hostile_worker_name_is_shown_as_text(world: World) -> None:
    """The miner's table and choice hold the very characters; nothing of them is run or made an element."""
    async with world.open(f"/miner/{world.other}") as page:
        await expect(page.locator(".cards th", has_text=HOSTILE).first).to_be_visible()
        await expect(page.locator("img")).to_have_count(0)
        await page.get_by_role("button", name="Blocks found").click()
        await expect(page.locator("img")).to_have_count(0)
    async with world.open(f"/blocks/{world.block_hash}") as page:
        await expect(page.locator("img")).to_have_count(0)


async def test_language_and_theme_are_switched_with_the_keyboard_and_kept(world: World) -> None:
    """The first Tab offers to skip to the content, further ones reach both switches, and the choice is kept."""
    async with world.open("/blocks", language="ru") as page:
        await expect(page.locator("h1")).to_have_text("Блоки")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        theme, language = page.locator(".bottom-tools select").first, page.locator(".bottom-tools select").last
        for choice, key in ((theme, "End"), (language, "Home")):
            for _ in range(400):
                if await choice.evaluate("it => it === document.activeElement"):
                    break
                await page.keyboard.press("Tab")
            assert await choice.evaluate("it => getComputedStyle(it).outlineStyle") != "none", "the focus is seen"
            await page.keyboard.press(key)
        await expect(page.locator("h1")).to_have_text("Blocks")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.reload()
        await expect(page.locator("h1")).to_have_text("Blocks")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.evaluate("window.isSamePage = true")


async def test_the_owner_changes_settings_by_signing_the_message_that_the_page_shows(world: World) -> None:
    """A signature over the shown text is taken once; another one is refused with the pool's reason."""
    async with world.open(f"/miner/{OWNER}") as page:
        await page.get_by_role("button", name="Settings").click()
        form = page.locator("form.settings")
        await form.locator("input[inputmode=decimal]").fill("0.5")
        await form.locator("input[type=checkbox]").check()
        text = await form.locator("pre").inner_text()
        await form.locator("textarea").fill(sign(text + " "))
        await form.locator("button[type=submit]").click()
        await expect(form.locator("[role=status].bad")).to_contain_text("The signature is not that of")
        await form.locator("textarea").fill(sign(text))
        await form.locator("button[type=submit]").click()
        await expect(form.locator("[role=status].good")).to_have_text("Saved.")
        settings = await world.ask(f"/miners/{OWNER}/settings")
        assert (settings["payout_threshold_atomic"], settings["is_anonymous"], settings["revision"]) == (
            50_000_000,
            True,
            1,
        )
    async with world.open("/leaderboard") as page:
        await expect(page.locator(".cards tbody tr", has_text="anonymous")).to_have_count(1)
        await expect(page.locator(f"a[href='/miner/{OWNER}']")).to_have_count(0)


async def test_the_links_for_downloads_give_tables(world: World) -> None:
    """Shares, earnings and payouts as CSV, workbook and JSON, each under a name of its own."""
    names = set()
    async with world.open(f"/miner/{world.other}") as page:
        for link in await page.locator(".exports a").all():
            async with page.expect_download() as started:
                await link.click()
            download = await started.value
            content = (await download.path()).read_bytes()
            kind = download.suggested_filename.rsplit(".", 1)[1]
            names.add(download.suggested_filename)
            match kind:
                case "csv":
                    assert content.startswith(b"\xef\xbb\xbf")
                    assert content.count(b"\r\n") >= 2
                case "xlsx":
                    assert content.startswith(b"PK")
                case "json":
                    assert json.loads(content)
                case _:
                    raise AssertionError(kind)
    assert len(names) == 9, names


async def test_a_server_that_hangs_is_named_on_the_status_page_and_comes_back(world: World) -> None:
    """The status page turns while it is open, and turns back."""
    pid = world.pool.pid_of("worker")
    async with world.open("/status") as page:
        await expect(page.locator(".verdict-line.good")).to_be_visible()
        os.kill(pid, signal.SIGSTOP)
        try:
            await expect(page.locator(".lamps .lamp-detail").first).to_have_text("It does not answer.", timeout=20_000)
            await expect(page.locator(".verdict-line.bad")).to_be_visible()
        finally:
            os.kill(pid, signal.SIGCONT)
        await expect(page.locator(".verdict-line.good")).to_be_visible(timeout=20_000)


@asynccontextmanager
async def gateway_without(world: World, service: str) -> AsyncIterator[str]:
    """Serve the page of the same pool from a gateway that cannot reach one of the services; yield its URL."""
    settings = world.pool.settings
    known = local_directory(settings.data_dir, worker_count=1)
    names = {"shares", "miners", "rewards", "payouts", "stratum-0"} - {service}
    targets = {name: known.target(name) for name in names} | {service: f"unix:{settings.data_dir / 'nobody.sock'}"}
    clients = RpcClients(StaticDirectory(targets))
    gateway = Gateway(
        settings=settings.gateway,
        pool_settings=settings.pool,
        live_info=LiveSections.of(settings).info,
        coin=COIN,
        sources=Sources(clients, coin_id=COIN.coin_id, timeout_s=1.0),
        clock=SystemClock(),
    )
    app = make_app(gateway)
    add_page(app)
    runner = make_runner(app)
    await runner.setup()
    try:
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        await clients.close()


async def test_without_the_payer_its_panel_says_so_and_the_rest_works(world: World) -> None:
    """Payouts are away: the list explains itself, everything else is shown."""
    async with gateway_without(world, "payouts") as url:
        async with world.open("/payouts", url=url) as page:
            await expect(page.locator(".state[role=alert]")).to_be_visible()
        async with world.open("/", url=url) as page:
            await expect(page.locator(".banner")).to_contain_text("payouts")
            await expect(page.locator(".cards tbody tr").first).to_be_visible()
            await expect(page.locator(".stat-strong .stat-value")).to_contain_text("H/s")


async def test_without_the_books_blocks_and_balances_say_so_and_the_rest_works(world: World) -> None:
    """Rewards are away: shares and workers of a miner are shown all the same, the balance says what is missing."""
    async with gateway_without(world, "rewards") as url:
        async with world.open("/blocks", url=url, language="ru") as page:
            await expect(page.locator(".state[role=alert]")).to_be_visible()
        async with world.open(f"/miner/{OWNER}", url=url) as page:
            await expect(page.locator(".state", has_text="rewards").first).to_be_visible()
            await expect(page.locator(".cards th", has_text="rig1")).to_be_visible()


async def test_a_worker_that_falls_silent_is_shown_as_offline_without_a_reload(world: World) -> None:
    """The row of "rig2", online when the page was opened, turns after a minute without a share; rig1's stays."""
    page = world.watched
    assert page is not None
    await expect(page.locator(".cards tr", has_text="rig2").locator(".dot-bad")).to_be_visible(timeout=120_000)
    await expect(page.locator(".cards tr", has_text="rig1").locator(".dot-good")).to_be_visible()
    assert await page.evaluate("window.isSamePage")
