"""Which files of the project an application's code consists of: its own and those it imports.

Found by reading the ``import`` statements, those inside functions too, and following them as long
as they lead to files of the project. So the answer is the same in every process, whatever else
happens to be imported there (a metric, a test, a script beside the application). Imports by a name
that is computed while running are not seen; ``[release] include`` is for those.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from headrace.settings import STATE

_HEADRACE = Path(__file__).absolute().parents[1]
_OUTSIDE = (STATE, "site-packages", "node_modules")

_Stamp = tuple[int, int]
_parsed: dict[str, tuple[_Stamp, tuple[tuple[int, str, tuple[str, ...]], ...]]] = {}
_closures: dict[tuple[Path, Path], tuple[dict[str, _Stamp], dict[str, str]]] = {}


def base_of(file: Path, root: Path) -> Path:
    """The folder that paths of the code are relative to: the project, or the file's own folder."""
    return root if file.is_relative_to(root) else file.parent


def folders_of(file: Path, root: Path) -> tuple[Path, ...]:
    """Where imports are looked for: beside the application's file, then in the project's root."""
    return tuple(dict.fromkeys((file.parent, base_of(file, root))))


def code_files(file: Path, root: Path) -> dict[str, str]:
    """Name in the project → path: of the application's file and the project files that it imports."""
    key = (file, root)
    known = _closures.get(key)
    if known is None or any(_stamp(name) != stamp for name, stamp in known[0].items()):
        base, found = base_of(file, root), _closure(file, root)
        names = {Path(path).relative_to(base).as_posix(): path for path in found}
        known = _closures[key] = (found, dict(sorted(names.items())))
    return known[1]


def _closure(file: Path, root: Path) -> dict[str, _Stamp]:
    base, folders = base_of(file, root), folders_of(file, root)
    found: dict[str, _Stamp] = {}
    todo = [file]
    while todo:
        path = todo.pop()
        stamp = _stamp(str(path))
        if str(path) in found or stamp is None:
            continue
        found[str(path)] = stamp
        for level, module, names in _imports(path, stamp):
            todo.extend(p for p in _resolve(path, level, module, names, folders) if is_ours(p, base))
    return found


def is_ours(path: Path, base: Path) -> bool:
    """Whether a file is the project's own code: not an installed package, a state, or Headrace itself."""
    if not path.is_relative_to(base) or path.is_relative_to(_HEADRACE):
        return False
    return not any(part in _OUTSIDE or part.startswith(".venv") for part in path.relative_to(base).parts)


def _stamp(name: str) -> _Stamp | None:
    try:
        stat = os.stat(name)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _imports(path: Path, stamp: _Stamp) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """(level, module, names) of every import; nothing where the file is not Python (loading says so)."""
    known = _parsed.get(str(path))
    if known is None or known[0] != stamp:
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):
            return ()
        found: list[tuple[int, str, tuple[str, ...]]] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found.extend((0, alias.name, ()) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        known = _parsed[str(path)] = (stamp, tuple(found))
    return known[1]


def _resolve(
    path: Path, level: int, module: str, names: tuple[str, ...], folders: tuple[Path, ...]
) -> Iterator[Path]:
    parts = module.split(".") if module else []
    if level:
        folder = path.parent
        for _ in range(level - 1):
            folder = folder.parent
        yield from _walk(folder, parts, names)
        return
    if parts and parts[0] not in sys.stdlib_module_names:
        for folder in folders:
            found = list(_walk(folder, parts, names))
            if found:
                yield from found
                return


def _walk(folder: Path, parts: list[str], names: tuple[str, ...]) -> Iterator[Path]:
    """The files that importing ``parts`` from ``folder`` runs, and ``names`` in it that are modules."""
    start = folder / "__init__.py"
    if start.is_file():
        yield start
    for at, part in enumerate(parts):
        if (folder / part).is_dir():
            folder = folder / part
            if (folder / "__init__.py").is_file():
                yield folder / "__init__.py"
        elif (folder / f"{part}.py").is_file():
            if at == len(parts) - 1:
                yield folder / f"{part}.py"
            return
        else:
            return
    for name in names:
        if (folder / f"{name}.py").is_file():
            yield folder / f"{name}.py"
        elif (folder / name / "__init__.py").is_file():
            yield folder / name / "__init__.py"
