"""Give each life of a worker process a piece of the search space and a name of its own."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UserError
from stratum.protocol.extranonce import PREFIX_BYTES

COUNTER_NAME = "extranonce.counter"
_PREFIXES = 1 << 8 * PREFIX_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What one life of a worker process has for itself.

    Attributes:
        prefix: First two bytes of its extranonce1 values.
        instance: Its name in the books; never used again.
    """

    prefix: int
    instance: str


def take_lease(data_dir: Path, *, slot: int, start_ms: int) -> Lease:
    """Take the next prefix of this host; after 65,536 lives they begin anew.

    Raises:
        UserError: The counter cannot be read or written.
    """
    path = data_dir / COUNTER_NAME
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            text = os.pread(fd, 32, 0).strip()
            prefix = int(text or b"0") % _PREFIXES
            os.pwrite(fd, b"%-31d\n" % ((prefix + 1) % _PREFIXES), 0)
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.", "is pool.data_dir this user's?") from error
    except ValueError as error:
        raise UserError(f"{path} does not hold a number.", "delete it if no stratum process runs") from error
    return Lease(prefix=prefix, instance=f"{slot}-{start_ms:x}-{prefix:04x}")
