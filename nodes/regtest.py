"""Start two real litecoind in regtest mode, for the demo and the tests.

Two, because a node without a peer gives no template, even on regtest. The first has the wallets `pool` and `miner`.
Everything listens on loopback only.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Self

from nodes.errors import NodeBusy, NodeError, NodeUnreachable
from nodes.jsonrpc import JsonRpc
from nodes.settings import NodeSettings
from runtime.errors import UserError
from runtime.process import launch_command

BINARY_DEFAULT: Final = Path("/usr/lib/litecoin/litecoind")
POOL_WALLET: Final = "pool"
MINER_WALLET: Final = "miner"
MWEB_HEIGHT: Final = 432
"""The first block of regtest that must carry a MWEB block, and so needs a peg-in in the one before."""

START_S_MAX: Final = 60.0
STOP_S_MAX: Final = 30.0
SYNC_S_MAX: Final = 30.0
START_ATTEMPTS_MAX: Final = 4
START_RETRY_S: Final = 1.0
"""Between two tries: a predecessor that is still ending holds the lock of the data directory."""
_LOOK_S: Final = 0.05
_CALL_AGAIN_S: Final = 3.0
_RPC_USER: Final = "lodepool"


def find_litecoind() -> Path | None:
    """Return litecoind's binary: from Debian's package, else the first on the PATH; None where there is none.

    Debian's `/usr/bin/litecoind` is a wrapper that writes into the home directory, so the binary behind it is taken.
    """
    if os.access(BINARY_DEFAULT, os.X_OK):
        return BINARY_DEFAULT
    found = shutil.which("litecoind")
    return None if found is None else Path(found)


class LitecoindRegtest:
    """A pair of litecoind in regtest mode; an async context manager.

    Args:
        data_dir: Where chain and wallets lie; a second start goes on with what is there.
        binary: litecoind; None means `find_litecoind()`.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None) -> None:
        found = binary or find_litecoind()
        if found is None:
            raise UserError(
                "litecoind is not installed", "install Debian's package litecoind, or use the simulated node"
            )
        password = secrets.token_hex(16)
        self._nodes = (
            _Daemon(found, data_dir / "first", password=password, has_wallet=True),
            _Daemon(found, data_dir / "second", password=password, has_wallet=False),
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pids(self) -> tuple[int | None, ...]:
        """Return the process ids of the first and the second node; None for one that does not run."""
        return tuple(node.pid for node in self._nodes)

    def node_settings(self) -> tuple[NodeSettings, ...]:
        """Return how to reach both nodes; the first with the wallet `pool`. Valid once started."""
        first, second = self._nodes
        return (first.settings(name="litecoind-1", wallet=POOL_WALLET), second.settings(name="litecoind-2", wallet=""))

    def miner_settings(self) -> NodeSettings:
        """Return how to reach the first node's wallet `miner`, which stands for the outside world."""
        return self._nodes[0].settings(name="litecoind-miner", wallet=MINER_WALLET)

    async def start(self) -> None:
        """Start both, connect them, and open the wallets.

        Raises:
            UserError: When they do not come up; it shows the end of their log.
        """
        first, second = self._nodes
        try:
            await first.start(peer_port=None)
            await second.start(peer_port=first.peer_port)
            await self._open_wallets()
            await self._wait_connected()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop both by their pids, the first last."""
        for node in reversed(self._nodes):
            await node.stop()

    async def restart(self, index: int) -> None:
        """Start one node again on its ports, whether it was stopped or killed, and wait until both agree.

        A killed node may have lost its newest blocks, and gets them again from the other.
        """
        await self._nodes[index].stop()
        await self._nodes[index].start(peer_port=self._nodes[0].peer_port if index else None)
        if not index:
            await self._open_wallets()
            with contextlib.suppress(NodeError):
                await self._nodes[1].call("addnode", f"127.0.0.1:{self._nodes[0].peer_port}", "onetry")
        await self._wait_connected()
        await self.wait_synced()

    async def kill(self, index: int) -> None:
        """End one node with SIGKILL."""
        await self._nodes[index].kill()

    async def call(self, method: str, *params: object, wallet: str = "", index: int = 0) -> object:
        """Call any method of a node (0 or 1), or of a wallet of the first."""
        return await self._nodes[index].call(method, *params, wallet=wallet)

    async def new_address(self, wallet: str, kind: str = "bech32") -> str:
        """Return a fresh address of a wallet; `kind` is legacy, p2sh-segwit, bech32 or mweb."""
        return str(await self.call("getnewaddress", "", kind, wallet=wallet))

    async def generate(self, count: int, address: str = "") -> tuple[str, ...]:
        """Mine blocks on the first node and wait until the second has them.

        Args:
            count: How many.
            address: Who is paid; empty means the wallet `miner`.

        Returns:
            Their hashes, as people read them.
        """
        to = address or await self.new_address(MINER_WALLET)
        hashes = await self.call("generatetoaddress", count, to)
        assert isinstance(hashes, list)  # the method's promise
        await self.wait_synced()
        return tuple(str(entry) for entry in hashes)

    async def peg_in(self, amount: str = "1") -> str:
        """Send coins of the wallet `miner` into the MWEB and return the transaction's id.

        Generation stops at height 431 until one is in the mempool, and MWEB blocks start with it.
        """
        address = await self.new_address(MINER_WALLET, "mweb")
        return str(await self.call("sendtoaddress", address, amount, wallet=MINER_WALLET))

    async def activate_mweb(self) -> None:
        """Mine up to and over the activation of MWEB; the next template carries a MWEB block."""
        height = await self.height()
        if height < MWEB_HEIGHT - 1:
            await self.generate(MWEB_HEIGHT - 1 - height)
            await self.peg_in()
            await self.generate(1)

    async def height(self, index: int = 0) -> int:
        """Return a node's height."""
        return int(str(await self.call("getblockcount", index=index)))

    async def wait_synced(self) -> None:
        """Return once both nodes have the same tip.

        Raises:
            UserError: When they do not agree in time.
        """
        async with _limit(SYNC_S_MAX, "the two litecoind do not agree on a tip"):
            while await self.call("getbestblockhash", index=0) != await self.call("getbestblockhash", index=1):  # noqa: ASYNC110  # another process
                await asyncio.sleep(_LOOK_S)

    async def _wait_connected(self) -> None:
        """Return once the nodes know each other; a call that came to nothing is made again."""
        loop = asyncio.get_running_loop()
        next_call_s = loop.time() + _CALL_AGAIN_S
        async with _limit(SYNC_S_MAX, "the two litecoind do not connect to each other"):
            while not await self.call("getconnectioncount", index=0):
                await asyncio.sleep(_LOOK_S)
                if loop.time() >= next_call_s:
                    next_call_s = loop.time() + _CALL_AGAIN_S
                    with contextlib.suppress(NodeError):
                        await self._nodes[1].call("addnode", f"127.0.0.1:{self._nodes[0].peer_port}", "onetry")

    async def _open_wallets(self) -> None:
        """Create the wallets, or load them: a restarted node does not by itself."""
        loaded = await self.call("listwallets")
        stored = await self.call("listwalletdir")
        assert isinstance(loaded, list)  # the method's promise
        assert isinstance(stored, dict)  # the method's promise
        names = {entry["name"] for entry in stored["wallets"]}
        for wallet in (POOL_WALLET, MINER_WALLET):
            if wallet not in loaded:
                await self.call("loadwallet" if wallet in names else "createwallet", wallet)


class _Daemon:
    """One litecoind process."""

    def __init__(self, binary: Path, data_dir: Path, *, password: str, has_wallet: bool) -> None:
        self._binary = binary
        self._data_dir = data_dir
        self._password = password
        self._has_wallet = has_wallet
        self._process: asyncio.subprocess.Process | None = None
        self._rpc: JsonRpc | None = None
        self._rpc_port = 0
        self.peer_port = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    def settings(self, *, name: str, wallet: str) -> NodeSettings:
        return NodeSettings(
            name=name,
            url=f"http://127.0.0.1:{self._rpc_port}",
            user=_RPC_USER,
            password=self._password,
            wallet=wallet,
        )

    async def call(self, method: str, *params: object, wallet: str = "") -> object:
        if self._rpc is None:
            raise NodeUnreachable(node="litecoind", method=method, url="its port", reason="it is not running")
        return await self._rpc.call(method, params, wallet=wallet, timeout_s=START_S_MAX)

    async def start(self, *, peer_port: int | None) -> None:
        """Start on free ports, or on those of the last start; another try when a port was taken in between."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        for attempt in range(START_ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(START_RETRY_S)
            if attempt or not self._rpc_port:
                self._rpc_port, self.peer_port = _free_ports(2)
            self._process = await asyncio.create_subprocess_exec(
                *launch_command(self._arguments(peer_port)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            self._rpc = JsonRpc(self.settings(name="litecoind", wallet=""), name="litecoind")
            if await self._is_ready():
                return
            await self.stop()
        raise UserError(f"litecoind did not start; the end of its log: {self._log_end()}")

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        """Signal our own child, wait for it, and use SIGKILL when it takes too long."""
        if self._rpc is not None:
            await self._rpc.close()
            self._rpc = None
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(how)
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _is_ready(self) -> bool:
        """Return True once it answers, False when its process has ended or the time is up."""
        assert self._process is not None  # called by start only
        try:
            async with asyncio.timeout(START_S_MAX):
                while self._process.returncode is None:
                    try:
                        await self.call("getblockchaininfo")
                    except (NodeUnreachable, NodeBusy):
                        await asyncio.sleep(_LOOK_S)
                        continue
                    return True
        except TimeoutError:
            return False
        return False

    def _arguments(self, peer_port: int | None) -> Sequence[str]:
        wallet = ["-fallbackfee=0.0001"] if self._has_wallet else ["-disablewallet"]
        peer = [] if peer_port is None else [f"-addnode=127.0.0.1:{peer_port}"]
        return [
            str(self._binary),
            f"-datadir={self._data_dir}",
            "-regtest",
            "-server",
            f"-rpcuser={_RPC_USER}",
            f"-rpcpassword={self._password}",
            f"-rpcport={self._rpc_port}",
            "-rpcbind=127.0.0.1",
            "-rpcallowip=127.0.0.1",
            "-rpcthreads=16",
            f"-port={self.peer_port}",
            "-bind=127.0.0.1",
            "-listen=1",
            "-listenonion=0",
            "-discover=0",
            "-dnsseed=0",
            "-printtoconsole=0",
            # A chain that nobody mined on for a day would count as an initial download, without templates.
            "-maxtipage=1000000000",
            *wallet,
            *peer,
        ]

    def _log_end(self) -> str:
        try:
            lines = (self._data_dir / "regtest" / "debug.log").read_text(errors="replace").splitlines()
        except OSError:
            return "there is none"
        return " | ".join(lines[-3:])


def _free_ports(count: int) -> tuple[int, ...]:
    """Return ports of loopback that are free now, all different."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for entry in sockets:
            entry.bind(("127.0.0.1", 0))
        return tuple(entry.getsockname()[1] for entry in sockets)


@contextlib.asynccontextmanager
async def _limit(limit_s: float, problem: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError as error:
        raise UserError(f"{problem} within {limit_s:g} s") from error
