"""The `lodepool` command.

A command's module is loaded when it is asked for: a process that `lodepool run` starts holds only what it needs.
"""

import importlib
import sys
from typing import Final

import click

from runtime.errors import UserError
from runtime.process import EXIT_USER_ERROR

COMMANDS: Final = {
    "audit": "cli.audit",
    "blocks": "cli.blocks",
    "certs": "cli.certs",
    "config": "cli.config",
    "demo": "cli.demo.command",
    "eventlog": "cli.eventlog",
    "init": "cli.init",
    "migrate": "cli.migrate",
    "mine": "cli.mine",
    "miners": "cli.miners",
    "notify": "cli.notify",
    "payouts": "cli.payouts",
    "run": "cli.run",
    "status": "cli.status",
    "targets": "cli.status",
    "up": "cli.up",
}
"""Command → the module that has it, under the same name."""


class LazyGroup(click.Group):
    """A group of the commands in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return all names, in order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lodepool")
def root() -> None:
    """Lodepool, a mining pool server.

    `lodepool demo` shows a whole pool at work; `lodepool init` writes a configuration for your own; `lodepool up` runs
    it.
    """


def main() -> None:
    """Run a command; errors meant for the operator are one sentence and exit code 2."""
    try:
        root(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UserError as error:
        click.echo(f"lodepool: {error.message}", err=True)
        if error.hint:
            click.echo(f"  hint: {error.hint}", err=True)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(130)
