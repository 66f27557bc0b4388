"""Start a program that ends with its parent; run as a script, before anything else is imported.

    python -I -S launch.py PARENT_PID SIGNAL UID GID PROGRAM [ARGUMENT…]

Asks the kernel to send SIGNAL when the parent dies (PR_SET_PDEATHSIG), becomes UID:GID (-1: stays who it is) and turns
into PROGRAM. A fork hook in the parent could do the same, but is not safe in a process with threads.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_EXIT_ORPHANED = 125


def main() -> None:
    """Do what the module's docstring says; never returns."""
    parent_pid, signal_number, uid, gid = (int(argument) for argument in sys.argv[1:5])
    command = sys.argv[5:]
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After setuid, which clears the setting.
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent_pid:
        sys.exit(_EXIT_ORPHANED)
    os.execvp(command[0], command)  # noqa: S606 - the caller's own list, no shell


if __name__ == "__main__":
    main()
