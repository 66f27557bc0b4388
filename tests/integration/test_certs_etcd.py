"""The certificates of `lodepool certs dev` on a real etcd: its members serve with them, and services are its users."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from etcd3aio.auth import AuthService, PermissionType

from cli.certs import certs
from runtime.etcd.client import EtcdClient
from runtime.etcd.errors import EtcdRefused
from tests.fakes.etcd_cluster import EtcdCluster, etcd_binary

FILES = {"ca.crt": "ca.pem", "server.crt": "etcd.pem", "server.key": "etcd.key"}


class OurCertificates:
    """The folder under the names that the cluster asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> str:
        return str(self.folder / FILES.get(name, name))


async def test_a_service_is_etcds_user_by_its_certificate(tmp_path: Path) -> None:
    etcd_binary()
    made = CliRunner().invoke(certs, ["dev", "--out", str(tmp_path), "--host", "etcd.test"])
    assert made.exit_code == 0, made.output
    certificates = OurCertificates(tmp_path)
    async with EtcdCluster(certificates=certificates) as cluster:

        def user(name: str) -> EtcdClient:
            files = {"cert_file": certificates.path(f"{name}.pem"), "key_file": certificates.path(f"{name}.key")}
            return EtcdClient(cluster.settings(**files))

        async with user("root") as root:
            await root.put("/a", b"1")
            auth = AuthService(root._members[0]._channel)
            for role in ("root", "reading"):
                await auth.role_add(role)
            await auth.role_grant_permission("reading", "/a", perm_type=PermissionType.READ)
            for name, role in (("root", "root"), ("shares", "reading")):
                await auth.user_add(name, "unused")
                await auth.user_grant_role(name, role)
            await auth.auth_enable()
        async with user("shares") as shares:
            entry = await shares.get("/a")
            assert entry is not None
            assert entry.value == b"1"
            with pytest.raises(EtcdRefused, match="permission denied"):
                await shares.put("/a", b"2")
        async with user("miners") as miners:
            with pytest.raises(EtcdRefused):
                await miners.get("/a")
