"""Where the services of a pool on this machine listen: unix sockets under its data directory."""

from pathlib import Path

from runtime.process import socket_dir
from runtime.rpc.client import StaticDirectory
from stratum.supervisor import worker_name

SERVICES = ("shares", "miners", "rewards", "payouts", "notifier")


def local_directory(data_dir: Path, *, worker_count: int) -> StaticDirectory:
    """Return the addresses of all services of one machine."""
    folder = socket_dir(data_dir)
    names = (*SERVICES, *(worker_name(slot) for slot in range(worker_count)))
    return StaticDirectory({name: f"unix:{folder / name}.sock" for name in names})
