"""The `lodepool` command."""

import sys

import click

from cli.audit import audit
from cli.blocks import blocks
from cli.certs import certs
from cli.config import config
from cli.demo.command import demo
from cli.init import init
from cli.migrate import migrate
from cli.mine import mine
from cli.miners import miners
from cli.payouts import payouts
from cli.run import run
from cli.status import status, targets
from cli.up import up
from runtime.errors import UserError
from runtime.process import EXIT_USER_ERROR


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lodepool")
def root() -> None:
    """Lodepool, a mining pool server.

    `lodepool demo` shows a whole pool at work; `lodepool init` writes a configuration for your own; `lodepool up` runs
    it.
    """


for command in (up, run, demo, mine, status, targets, blocks, miners, payouts, audit, migrate, init, config, certs):
    root.add_command(command)


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
