"""Real etcd on loopback: one or three members that can be killed, frozen and started again."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

from runtime.etcd.client import EtcdClient
from runtime.etcd.errors import EtcdError
from runtime.etcd.settings import EtcdSettings
from runtime.process import launch_command
from tests.fakes.ports import steady_port
from tests.fakes.waiting import eventually

START_S_MAX = 20.0


def etcd_binary() -> str:
    """Return etcd's path; skips the test when it is not installed."""
    found = shutil.which("etcd")
    if found is None:
        pytest.skip("missing component: etcd")
    return found


class Certificates:
    """An authority, a certificate for the members and one for each user, made by openssl."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("missing component: openssl")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._run(
            "req",
            "-x509",
            *self._new_key("ca"),
            "-days",
            "2",
            "-subj",
            "/CN=test authority",
            "-out",
            self.path("ca.crt"),
        )
        self.issue("server", names="DNS:etcd.test,IP:127.0.0.1")

    def path(self, name: str) -> str:
        return str(self._folder / name)

    def issue(self, user: str, *, names: str = "") -> None:
        """Make `<user>.crt` and `<user>.key`; the common name is the user."""
        request, extensions = self.path(f"{user}.csr"), self.path(f"{user}.ext")
        self._run("req", "-new", *self._new_key(user), "-subj", f"/CN={user}", "-out", request)
        usage = "extendedKeyUsage=serverAuth,clientAuth\n"
        Path(extensions).write_text(usage + (f"subjectAltName={names}\n" if names else ""))
        self._run(
            "x509", "-req", "-in", request, "-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"), "-CAcreateserial",
            "-days", "2", "-extfile", extensions, "-out", self.path(f"{user}.crt"),
        )  # fmt: skip

    def _new_key(self, name: str) -> list[str]:
        return [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            self.path(f"{name}.key"),
        ]

    @staticmethod
    def _run(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class EtcdMember:
    """One etcd process.

    Args:
        name: Its name in the cluster.
        folder: For its data and its log.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.client_port = steady_port()
        self.peer_port = steady_port()
        self.arguments: list[str] = []
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client_port}"

    @property
    def peer_url(self) -> str:
        return f"http://127.0.0.1:{self.peer_port}"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process and wait until its port is open; use `EtcdCluster.wait_healthy` for more."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            command = launch_command([etcd_binary(), *self.arguments], death_signal=signal.SIGKILL)
            environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        await eventually(self._is_listening, timeout_s=START_S_MAX, what=f"a listening etcd {self.name}")

    async def kill(self) -> None:
        """End it like a power cut."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end."""
        await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does; its connections stay."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(number)
        if number is not signal.SIGKILL:
            self.thaw()
        async with asyncio.timeout(START_S_MAX):
            await self._process.wait()

    def _is_listening(self) -> bool:
        assert self.is_running, (self.folder / f"{self.name}.log").read_text()[-2000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.client_port)) == 0


class EtcdCluster:
    """A cluster with data of its own in a temporary folder.

    Args:
        member_count: 1 or 3.
        certificates: TLS with client certificates between client and server; None means plain text.
    """

    def __init__(self, member_count: int = 1, *, certificates: Certificates | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lp-etcd-"))
        self.certificates = certificates
        self.members = [EtcdMember(f"m{number}", self._folder) for number in range(member_count)]
        initial = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        for member in self.members:
            member.arguments = self._arguments(member, initial)

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(member.start() for member in self.members))
        await self.wait_healthy()
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self.members:
            await member.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    def settings(self, **changes: object) -> EtcdSettings:
        """Return settings for this cluster, impatient as a test is."""
        values: dict[str, object] = {
            "endpoints": self.endpoints,
            "cluster": "test",
            "attempt_timeout_s": 0.5,
            "request_timeout_s": 2.0,
            "probe_s": 0.5,
            "lease_ttl_s": 2,
            "clock_margin_s": 0.3,
        }
        if self.certificates is not None:
            values |= {
                "ca_file": self.certificates.path("ca.crt"),
                "cert_file": self.certificates.path("server.crt"),
                "key_file": self.certificates.path("server.key"),
                "tls_server_name": "etcd.test",
            }
        return EtcdSettings(**(values | changes))  # type: ignore[arg-type]  # checked by the struct's users

    async def wait_healthy(self) -> None:
        """Wait until each running member answers with the agreement of a majority."""
        for member in self.members:
            if not member.is_running:
                continue
            async with EtcdClient(self.settings(endpoints=(member.endpoint,))) as client:

                async def answers(client: EtcdClient = client) -> bool:
                    try:
                        await client.get("/health")
                    except EtcdError:
                        return False
                    return True

                await eventually(answers, timeout_s=START_S_MAX, what=f"a healthy etcd {member.name}")

    async def clear(self) -> None:
        """Delete all keys."""
        async with EtcdClient(self.settings()) as client:
            await client.delete_prefix("/")

    def _arguments(self, member: EtcdMember, initial: str) -> list[str]:
        scheme = "http" if self.certificates is None else "https"
        client_url = f"{scheme}://{member.endpoint}"
        arguments = [
            "--name", member.name,
            "--data-dir", str(self._folder / f"{member.name}.data"),
            "--listen-client-urls", client_url,
            "--advertise-client-urls", client_url,
            "--listen-peer-urls", member.peer_url,
            "--initial-advertise-peer-urls", member.peer_url,
            "--initial-cluster", initial,
            "--initial-cluster-state", "new",
            "--initial-cluster-token", self._folder.name,
            "--heartbeat-interval", "50",
            "--election-timeout", "500",
            "--logger", "zap",
            "--log-level", "warn",
            "--enable-v2=false",
        ]  # fmt: skip
        if self.certificates is not None:
            arguments += [
                "--cert-file", self.certificates.path("server.crt"),
                "--key-file", self.certificates.path("server.key"),
                "--trusted-ca-file", self.certificates.path("ca.crt"),
                "--client-cert-auth",
            ]  # fmt: skip
        return arguments
