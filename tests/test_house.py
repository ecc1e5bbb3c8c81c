"""The house keeps its shape: imports run downward, rooms do not know one another, no circle, no file grows too long."""

import ast
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "fewmask"
FILES = sorted(path.relative_to(SRC.parent) for path in SRC.rglob("*.py"))
MOST_LINES = 320
LONGER: dict[str, int] = {}
"""Files that are to be cut; none may join them."""

FLOORS = [
    {"addresses"},
    {"errors"},
    {"media"},
    {"datasets", "models"},
    {"metrics", "exports"},
    {"corrections"},
    {"training"},
    {"minvis", "vipmt", "selfshot", "mining", "retrieval"},
    {"pipelines"},
    {"studio"},
    {"cli"},
]
"""From the ground up. What stands on one floor may use what is below it, and its own folder."""
TOP = {"", "__main__"}
"""The package itself: its public names, imported when they are used."""


def module_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


@cache
def imports(path: Path) -> frozenset[str]:
    """Modules of fewmask that a file imports anywhere, in functions and for type checking too."""
    found = set()
    for node in ast.walk(ast.parse((SRC.parent / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inside}
    return frozenset(name for name in found if name in MODULES)


def place(module: str) -> str:
    """The folder or top-level module that a module belongs to; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_run_downward_and_rooms_are_apart(path):
    here = place(module_of(path))
    if here in TOP:
        return
    assert here in FLOOR, f"{path}: on no floor; add {here} to FLOORS and docs/architecture.md"
    for module in imports(path):
        there = place(module)
        if there in TOP or there == here:
            continue
        assert FLOOR[there] < FLOOR[here], f"{path} imports {module}: {here} may not use {there}"


def test_no_import_goes_round_in_a_circle():
    graph = {module_of(path): {name for name in imports(path) if place(name) not in TOP} for path in FILES}
    done: set[str] = set()

    def follow(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                follow(other, (*way, module))
            done.add(module)

    for module in sorted(graph):
        follow(module, ())


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_is_one_idea_and_says_which(path):
    text = (SRC.parent / path).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGER.get(path.as_posix(), MOST_LINES)
    if path.name != "__init__.py" and path.name != "__main__.py":
        assert ast.get_docstring(ast.parse(text)), f"{path}: its first line says what it is about"
