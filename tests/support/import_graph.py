"""The graph of imports in a source tree, read from the syntax: no module is run."""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import MappingProxyType


def import_graph(folders: Iterable[Path], aliases: Mapping[str, str] = MappingProxyType({})) -> dict[str, set[str]]:
    """Module → the modules of these folders that it imports: at the top, inside functions or for type checkers.

    Args:
        folders: packages; a module of `here/seqstride/core/plan.py` is called `seqstride.core.plan`.
        aliases: other names of modules or packages → their names here.
    """
    files = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder.parent).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return {
        name: {found for found in _imported(name, file, files, aliases) if found != name}
        for name, file in files.items()
    }


CALLS = ("import_module", "__import__", "require", "locate")
"""Functions that import the module of their first argument."""


def _imported(name: str, file: Path, known: Mapping[str, Path], aliases: Mapping[str, str]) -> Iterator[str]:
    def current(module: str) -> str:
        start = next((old for old in aliases if f"{module}.".startswith(f"{old}.")), "")
        return aliases[start] + module[len(start) :] if start else module

    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            # `from a import b` imports the module a.b if there is one
            named = [
                f"{base}.{alias.name}" if current(f"{base}.{alias.name}") in known else base for alias in node.names
            ]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in CALLS:
            given = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "name")]
            named = [word.value for word in given if isinstance(word, ast.Constant)]
        else:
            continue
        yield from (current(module) for module in named if current(module) in known)


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle, each imported by the next; empty where the graph has none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        modules: list[str] = error.args[1]
        return modules
    return []


def upward_arrows(graph: Mapping[str, set[str]], order: Sequence[str]) -> list[str]:
    """The imports that lead to a higher room, as `a imports b`.

    Args:
        graph: of `import_graph`.
        order: rooms from the lowest to the highest. A room is a package or a module such as `seqstride.core`;
            several that stand on one floor are separated by spaces.
    """
    floors = {room: floor for floor, rooms in enumerate(order) for room in rooms.split()}

    def floor_of(module: str) -> int:
        while module not in floors:
            module, dot, _ = module.rpartition(".")
            assert dot, f"{module} is in no room: add it to the order"
        return floors[module]

    return sorted(
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if floor_of(other) > floor_of(module)
    )


def imports_between_tests(folder: Path) -> list[str]:
    """The imports of test modules by any file of a folder of tests, as `a.py imports test_b`."""
    tests = {file.stem for file in folder.rglob("test_*.py")}
    found = []
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                named = [f"{node.module or ''}.{alias.name}" for alias in node.names]
            else:
                continue
            found += [f"{file.name} imports {part}" for name in named for part in name.split(".") if part in tests]
    return found
