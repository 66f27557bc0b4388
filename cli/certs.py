"""`lodepool certs`: an authority, certificates and token keys for the services of a cluster."""

import datetime as dt
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from cli.options import json_option, print_json, print_rows
from runtime.errors import UserError
from runtime.rpc.certificates import (
    AUTHORITY_DAYS,
    CERTIFICATE_DAYS,
    DOMAIN,
    KeyPair,
    is_issued_by,
    issue,
    make_authority,
    make_token_key,
    read_certificates,
)
from runtime.rpc.tokens import Jwk, Jwks, jwk_of

SERVICES: Final = (
    "stratum", "shipper", "shares", "miners", "rewards", "payouts", "gateway", "notifier", "users", "cli",
)  # fmt: skip
"""Everything that has a certificate and a token key."""
ETCD: Final = ("etcd", "root")
"""What has a certificate only: etcd's members, and its administrator."""
JWKS_FILE: Final = "tokens.json"
AUTHORITY: Final = "ca"

_HOST = re.compile(r"(?=.{1,253}$)(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9-]{1,63})*")

out_option = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder of the files."
)
force_option = click.option("--force", is_flag=True, help="Replace files that are there.")


@click.group()
def certs() -> None:
    """Make certificates and token keys for the services of a cluster.

    A folder holds ca.pem and ca.key (keep the latter offline), and for each service NAME.pem, NAME.key and
    NAME.token.key; tokens.json holds everybody's public token keys. A service's host needs its own three files, ca.pem
    and tokens.json; running services take new files over by themselves.
    """


@certs.command("ca", epilog="Example: lodepool certs ca --out certs")
@out_option
@click.option("--days", type=click.IntRange(1, 36500), default=AUTHORITY_DAYS, show_default=True)
@force_option
def make_ca(out: Path, days: int, *, force: bool) -> None:
    """Make the authority that signs the services' certificates."""
    _write(out, _authority_files(make_authority(days=days)), force=force)
    click.echo(f"Made {out / 'ca.pem'}; keep {out / 'ca.key'} offline, whoever has it can be any service.")


@certs.command("issue", epilog="Example: lodepool certs issue shares miners --out certs --host 10.0.0.5 --force")
@click.argument("services", nargs=-1, required=True)
@out_option
@click.option("--host", "hosts", multiple=True, help="A host name or IP address that stands in the certificate too.")
@click.option("--days", type=click.IntRange(1, 3650), default=CERTIFICATE_DAYS, show_default=True)
@click.option("--new-token-key", is_flag=True, help="Make a new token key too; the old one stays valid in tokens.json.")
@force_option
def issue_some(
    services: Sequence[str], out: Path, hosts: Sequence[str], days: int, *, new_token_key: bool, force: bool
) -> None:
    """Make certificates for services, and token keys for those that have none.

    Besides the services there are `etcd` for etcd's members (name their hosts with --host) and `root` for whoever sets
    up etcd's users.

    To renew a certificate, use --force: the token key stays. To change a token key, add --new-token-key; bring the new
    tokens.json to all hosts first, then the key to its own; a few minutes later the old key may be deleted from it.
    """
    _check_services(services)
    _check_hosts(hosts)
    authority = _read_authority(out)
    files: dict[str, bytes] = {}
    kept: dict[str, bytes] = {}
    for service in dict.fromkeys(services):
        files |= _issue(authority, service, hosts, days=days)
        if service in ETCD:
            continue
        if new_token_key or not (out / f"{service}.token.key").exists():
            files[f"{service}.token.key"] = make_token_key()
        else:
            kept[f"{service}.token.key"] = _read(out / f"{service}.token.key")
    _refuse_overwriting(out, files, force=force)
    # The public keys come first: whoever reads along knows a key before it is used.
    _write(out, {JWKS_FILE: _with_token_keys(out, files | kept), **files}, force=True)
    click.echo(f"Made certificates of {', '.join(dict.fromkeys(services))} in {out}, valid for {days} days.")


@certs.command("dev", epilog="Example: lodepool certs dev --out certs")
@out_option
@click.option("--host", "hosts", multiple=True, help="A host name or IP address that stands in the certificates too.")
@click.option("--days", type=click.IntRange(1, 3650), default=CERTIFICATE_DAYS, show_default=True)
@force_option
def make_all(out: Path, hosts: Sequence[str], days: int, *, force: bool) -> None:
    """Make everything at once: an authority, and a certificate and a token key for each service and for `cli`.

    The certificates' common names are the services' names, so that they serve as etcd's users as well; `etcd` is for
    etcd's own members, `root` for whoever sets up its users.
    """
    _check_hosts(hosts)
    authority = make_authority()
    files = _authority_files(authority)
    for service in (*SERVICES, *ETCD):
        files |= _issue(authority, service, ("localhost", "127.0.0.1", *hosts), days=days)
    files |= {f"{service}.token.key": make_token_key() for service in SERVICES}
    _write(out, {JWKS_FILE: _encode(_public_keys(files)), **files}, force=force)
    click.echo(f"Made an authority and the certificates of {len(SERVICES)} services in {out}.")


@certs.command("show", epilog="Example: lodepool certs show certs")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@json_option
def show(folder: Path, *, as_json: bool) -> None:
    """List the certificates of a folder: whose they are and until when they are valid."""
    keys = _read_token_keys(folder)
    rows = [_facts(path, folder, keys) for path in sorted(folder.glob("*.pem"))]
    if as_json:
        print_json(msgspec.to_builtins(rows))
        return
    columns = ("name", "valid until", "days left", "authority", "also for", "token keys")
    shown = [
        (row.name, row.valid_until[:10], row.days_left, row.authority, _further(row.hosts), row.token_keys)
        for row in rows
    ]
    print_rows(str(folder), columns, shown, empty="There are no certificates here.")


class _Facts(msgspec.Struct, kw_only=True):
    """What `show` tells of a certificate."""

    file: str
    name: str
    hosts: list[str]
    valid_from: str
    valid_until: str
    days_left: int
    authority: str
    token_keys: int


def _facts(path: Path, folder: Path, keys: Sequence[Jwk]) -> _Facts:
    try:
        certificate = read_certificates(path.read_bytes())[0]
    except (OSError, ValueError):
        raise UserError(f"{path} holds no certificate.") from None
    until = certificate.not_valid_after_utc
    authority = folder / "ca.pem"
    is_ours = authority.exists() and is_issued_by([certificate], read_certificates(authority.read_bytes()))
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else path.stem
    return _Facts(
        file=path.name,
        name=name,
        hosts=_hosts(certificate),
        valid_from=certificate.not_valid_before_utc.isoformat(),
        valid_until=until.isoformat(),
        days_left=(until - dt.datetime.now(dt.UTC)).days,
        authority="ca.pem" if is_ours else "another",
        token_keys=sum(key.service == name for key in keys),
    )


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def _further(hosts: Sequence[str]) -> str:
    return ", ".join(host for host in hosts if not host.endswith(DOMAIN))


def _check_services(services: Sequence[str]) -> None:
    for service in services:
        if service not in (*SERVICES, *ETCD):
            raise UserError(f'There is no service called "{service}".', f"one of {', '.join((*SERVICES, *ETCD))}")


def _check_hosts(hosts: Sequence[str]) -> None:
    for host in hosts:
        if not _is_ip(host) and _HOST.fullmatch(host) is None:
            raise UserError(f'"{host}" is neither a host name nor an IP address.', "no port and no https://")
        if f".{host.lower()}".endswith(DOMAIN):
            raise UserError(f'"{host}" is the name of a service: who has it can be that service.', "a host's own name")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _issue(authority: KeyPair, service: str, hosts: Sequence[str], *, days: int) -> dict[str, bytes]:
    try:
        pair = issue(authority, service, hosts=hosts, days=days)
    except (ValueError, TypeError) as error:
        raise UserError(f"The authority cannot sign: {error}.", "`lodepool certs ca --force` makes a new one") from None
    return {f"{service}.pem": pair.certificate, f"{service}.key": pair.private_key}


def _authority_files(authority: KeyPair) -> dict[str, bytes]:
    return {f"{AUTHORITY}.pem": authority.certificate, f"{AUTHORITY}.key": authority.private_key}


def _read_authority(folder: Path) -> KeyPair:
    if not (folder / "ca.pem").exists() or not (folder / "ca.key").exists():
        raise UserError(f"There is no authority in {folder}.", f"`lodepool certs ca --out {folder}` makes one")
    return KeyPair(certificate=_read(folder / "ca.pem"), private_key=_read(folder / "ca.key"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _read_token_keys(folder: Path) -> tuple[Jwk, ...]:
    path = folder / JWKS_FILE
    if not path.exists():
        return ()
    try:
        return msgspec.json.decode(_read(path), type=Jwks).keys
    except msgspec.MsgspecError as error:
        raise UserError(f"{path} is not a JSON Web Key Set: {error}.") from None


def _public_keys(files: Mapping[str, bytes]) -> list[Jwk]:
    keys = []
    for name, pem in files.items():
        if not name.endswith(".token.key"):
            continue
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError):
            raise UserError(f"{name} holds no private key.") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise UserError(f"{name} is not an Ed25519 key.", "--new-token-key --force makes a new one")
        keys.append(jwk_of(name.removesuffix(".token.key"), key.public_key()))
    return keys


def _with_token_keys(folder: Path, files: Mapping[str, bytes]) -> bytes:
    known = _read_token_keys(folder)
    kids = {key.kid for key in known}
    return _encode([*known, *(key for key in _public_keys(files) if key.kid not in kids)])


def _encode(keys: Sequence[Jwk]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(Jwks(keys=tuple(keys))), indent=2) + b"\n"


def _refuse_overwriting(folder: Path, files: Iterable[str], *, force: bool) -> None:
    present = [name for name in files if (folder / name).exists()]
    if present and not force:
        raise UserError(f"{folder / present[0]} is there already.", "--force replaces it")


def _write(folder: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write files, each as a whole; private keys so that only their owner can read them.

    Raises:
        UserError: When one is there already and `force` is not set (nothing is written then), or cannot be written.
    """
    _refuse_overwriting(folder, files, force=force)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _write_one(folder / name, data, mode=0o600 if name.endswith(".key") else 0o644)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from None


def _write_one(path: Path, data: bytes, *, mode: int) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
