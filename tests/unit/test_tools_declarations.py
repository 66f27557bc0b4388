"""What pyproject.toml and web/package.json declare is what the pages and the modules say."""

import ast
import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE = json.loads((ROOT / "web" / "package.json").read_text(encoding="utf-8"))
REASONS = (ROOT / "docs" / "adr" / "0001-dependencies.md").read_text(encoding="utf-8")
IS_PURE = re.compile(r"(^|[.;:] )[Pp]ure[.:;]", re.MULTILINE)


def python_names() -> set[str]:
    """Return the names of all Python packages that the project asks for."""
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values(), PROJECT["build-system"]["requires"]]
    return {re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0] for group in groups for line in group}


def reasoned(heading: str) -> set[str]:
    """Return the names in the first column of the tables below a heading."""
    text = REASONS.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {name.strip() for cell in cells for name in cell.split(",")} - {"package", "---"}


def test_every_dependency_has_its_reason_and_every_reason_its_dependency():
    """Each package of pyproject.toml stands in ADR 0001 with what it is for, and no other."""
    assert reasoned("To run") | reasoned("To build and test") == python_names()
    assert reasoned("To run") == {
        re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0] for line in PROJECT["project"]["dependencies"]
    }


def test_every_dependency_of_the_page_has_its_reason():
    """The same for web/package.json."""
    assert reasoned("The page") == {*PACKAGE["dependencies"], *PACKAGE["devDependencies"]}


def test_what_says_that_it_is_pure_is_held_to_it():
    """STYLE 1: a module whose docstring says "Pure" is among the pure core that import-linter checks."""
    contract = next(each for each in PROJECT["tool"]["importlinter"]["contracts"] if "pure" in each["name"])
    held = tuple(contract["source_modules"])
    loose = []
    for package in PROJECT["tool"]["importlinter"]["root_packages"]:
        for path in (ROOT / package).rglob("*.py"):
            first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").replace("\n\n", "\n")
            name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
            is_held = any(name == each or name.startswith(f"{each}.") for each in held)
            if path.name != "__init__.py" and IS_PURE.search(first) and not is_held:
                loose.append(name)
    assert loose == []
