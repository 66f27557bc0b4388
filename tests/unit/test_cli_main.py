"""The command and what it loads."""

import subprocess
import sys

import pytest
from click import Context
from click.testing import CliRunner

from cli.main import COMMANDS, root

HEAVY = ("cli.demo", "cli.audit", "cli.payouts", "cli.office", "rich", "asyncpg", "aiokafka", "gateway.app")


def test_every_command_is_found_under_its_name_and_has_an_example() -> None:
    context = Context(root)
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help
    assert root.get_command(context, "nothing") is None
    listed = CliRunner().invoke(root, ["--help"]).output
    assert all(f"\n  {name} " in listed for name in COMMANDS)


@pytest.mark.parametrize("program", ["import cli.run", "from cli.main import root; root.get_command(None, 'run')"])
def test_a_process_of_the_pool_loads_no_other_command(program: str) -> None:
    """A stratum worker is small, however it was started."""
    shown = f"{program}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
