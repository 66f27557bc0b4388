"""What the rewards service counts about itself."""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Counters:
    """Numbers since the process started.

    Attributes:
        blocks_found_total: Blocks written for the first time.
        blocks_repeated_total: Records of blocks that were already known.
        blocks_poison_total: Records set aside.
        blocks_credited_total: Blocks credited, again included.
        blocks_matured_total: Blocks whose credits became payable.
        blocks_orphaned_total: Blocks orphaned.
        blocks_held: Blocks that wait for the operator now.
        windows_waited_total: Times a window could not be fixed yet.
    """

    blocks_found_total: int = 0
    blocks_repeated_total: int = 0
    blocks_poison_total: int = 0
    blocks_credited_total: int = 0
    blocks_matured_total: int = 0
    blocks_orphaned_total: int = 0
    blocks_held: int = 0
    windows_waited_total: int = 0
