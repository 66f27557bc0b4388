"""Options and outputs that several commands share."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from cli.settings import DEFAULT_PATH

Command = TypeVar("Command", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_PATH,
    show_default=True,
    envvar="LODEPOOL_CONFIG",
    help="The pool's configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script.")
limit_option = click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Print at most this many rows."
)


def as_dict(message: Message) -> dict[str, Any]:
    """Return a protobuf message under its own field names; fields without a value are left out."""
    return MessageToDict(message, preserving_proto_field_name=True)


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print a table; numbers stand right-aligned."""
    console = Console()
    if not rows:
        console.print(f"[dim]{empty}[/dim]")
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    numeric = [all(str(row[i]).replace(",", "")[:1].isdigit() for row in rows) for i in range(len(columns))]
    for name, is_numeric in zip(columns, numeric, strict=True):
        table.add_column(name, justify="right" if is_numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    console.print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values below one another."""
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(f"[dim]{name}[/dim]", str(value))
    Console().print(table)
