"""The order of the house: floors, file sizes, light imports, one file per heavy library.

Floor numbers and rooms are those of the tree in README.md.
"""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import plugins

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "headrace"

FLOORS: dict[str, int] = {
    **dict.fromkeys(
        ("types", "protocols", "errors", "settings", "network", "extras", "plugins", "tracing", "text"), 0
    ),
    **dict.fromkeys(("request", "storage", "database", "matter", "schema"), 0),
    **dict.fromkeys(
        ("ingest", "models", "search", "prompts", "guards", "measure", "draw", "ledger", "releases", "tools"),
        1,
    ),
    "resources": 2,
    "flows": 3,
    "tasks": 4,
    **dict.fromkeys(("evaluation", "tuning", "auditing", "ops"), 5),
    **dict.fromkeys(("cli", "web"), 6),
}
# A plugin table's arrows belong to the room that asks for the group.
ASKED_BY = {"readers": "ingest", "models": "resources"}

# A heavy library is named in one file of a room (PLACES lists every file that may import it).
PLACES: dict[str, set[str]] = {
    "openvino": {"models/minilm.py"},
    "tokenizers": {"models/tokens.py", "models/subwords.py"},  # the embedder's, and anybody's
    "tantivy": {"search/words.py", "search/terms.py"},  # the index, and its analyser
    "lxml": {"ingest/markup.py"},
    "docx": {"ingest/office.py"},
    "pypdfium2": {"ingest/office.py"},
    "charset_normalizer": {"ingest/encoding.py"},
    "safetensors": {"models/minilm.py", "models/quantise.py", "tuning/encoder.py"},  # weights, and grids
    "torch": {"models/local.py"},
    "transformers": {"models/local.py"},
    "starlette": set(),  # any file of web/
    "uvicorn": {"web/server.py"},
    "jinja2": set(),
    "prometheus_client": {"ops/metrics.py"},
    "rich": {"cli/console.py"},
    "pydantic": {"flows/signature.py"},
    "httpx": {"network.py", "models/endpoint.py"},
    "rouge_score": {"measure/overlap.py"},
    "sacrebleu": {"measure/overlap.py"},
    "mlflow": {"ops/mlflow.py"},
    "trl": {"tuning/training.py"},
    "peft": {"tuning/training.py"},
    "datasets": {"tuning/training.py"},
    "pyarrow": {"ops/tables.py", "ops/tables_out.py"},
    "deltalake": {"ops/tables.py"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SRC.rglob("*.py")):
        yield path.relative_to(SRC).as_posix(), path


def room(name: str) -> str:
    """``search/store.py`` → ``search``; ``types.py`` → ``types``."""
    return name.split("/")[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, in functions too; ``from headrace.x import y`` gives both."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports are not used here"
            assert node.module is not None
            yield node.lineno, node.module
            if node.module == "headrace":
                for alias in node.names:
                    if alias.name in FLOORS:
                        yield node.lineno, f"headrace.{alias.name}"


def arrow_is_allowed(source: str, target: str) -> bool:
    here, there = FLOORS[source], FLOORS[target]
    return there < here or source == target or here == there == 0


def test_every_room_has_a_floor() -> None:
    unknown = {room(name) for name, _ in modules()} - set(FLOORS) - {"__init__", "__main__"}
    assert not unknown, f"no floor for {sorted(unknown)}: change the plan of the house first"


def test_no_arrow_points_up() -> None:
    wrong = []
    for name, path in modules():
        source = room(name)
        if source in ("__init__", "__main__"):
            continue
        for line, imported in imports(path):
            parts = imported.split(".")
            if parts[0] != "headrace" or len(parts) == 1:
                continue
            target = parts[1]
            if name == "cli/serve.py" and target == "web":
                continue
            if target in FLOORS and not arrow_is_allowed(source, target):
                wrong.append(f"{name}:{line} imports headrace.{target}")
    assert not wrong, "\n".join(wrong)


def test_plugin_names_are_arrows_too() -> None:
    assert set(plugins.BUILT_IN) == set(ASKED_BY)
    for group, table in plugins.BUILT_IN.items():
        for name, target in table.items():
            goes_to = target.split(".")[1]
            assert arrow_is_allowed(ASKED_BY[group], goes_to), f"{group} {name} → {target}"
    for name, path in modules():
        for asked in re.findall(r"plugins\.(?:get|knows|names)\(\s*[\"'](\w+)[\"']", path.read_text("utf-8")):
            assert room(name) == ASKED_BY[asked], f"{name} asks for the group {asked!r}"


def test_plugin_names_exist() -> None:
    for group, table in plugins.BUILT_IN.items():
        for target in set(table.values()):
            name = next(key for key, value in table.items() if value == target)
            assert callable(plugins.get(group, name))


def test_files_stay_small() -> None:
    for name, path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 600, f"{name} has {lines} lines: split it by capability"
        if lines > 400:
            warnings.warn(f"{name} has {lines} lines", stacklevel=1)


def test_only_settings_reads_the_environment() -> None:
    for name, path in modules():
        if name == "settings.py":
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"os\.(environ|getenv)", text), f"{name} reads the environment"


def test_heavy_libraries_are_named_in_one_file() -> None:
    wrong = []
    for name, path in modules():
        for line, imported in imports(path):
            top = imported.split(".")[0]
            if top in PLACES:
                allowed = PLACES[top]
                if not (name in allowed or (not allowed and room(name) == "web")):
                    wrong.append(f"{name}:{line} imports {top}")
    assert not wrong, "\n".join(wrong)


def test_every_dependency_has_a_place() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {"python-docx": "docx", "charset-normalizer": "charset_normalizer"}
    for line in data["dependencies"]:
        name = re.split(r"[<>=\[ ]", line)[0]
        assert names.get(name, name) in PLACES or name in ("numpy", "click"), (
            f"{name} has no place in the house"
        )


def test_modules_say_what_they_are() -> None:
    for name, path in modules():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{name} has no docstring"


def test_no_broad_silence() -> None:
    """``except Exception: pass`` and bare ``except:`` have no place."""
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{name}:{node.lineno} catches everything"
                broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
                silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
                assert not (broad and silent), f"{name}:{node.lineno} is silent about every error"


def test_no_public_name_is_a_module() -> None:
    import headrace

    public = set(headrace.__all__) - {"__version__"}
    children = {info.name for info in pkgutil.iter_modules([str(SRC)])}
    assert not public & children


PROBE = """
import json, sys
made = []
sys.addaudithook(lambda event, args: made.append(event) if event == "socket.__new__" else None)
import headrace
headrace.app, headrace.KnowledgeBase, headrace.answer
heavy = [m for m in ("torch", "transformers", "openvino", "tokenizers", "tantivy", "numpy", "httpx",
                     "pydantic", "starlette", "rich", "lxml", "mlflow") if m in sys.modules]
print(json.dumps({"sockets": len(made), "heavy": heavy}))
"""


def test_import_is_light_and_opens_no_socket() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"sockets": 0, "heavy": []}


def test_help_is_light() -> None:
    code = (
        "import sys, headrace.cli.main as m\n"
        "m.run(['--help'])\n"
        "bad = [x for x in ('numpy','pydantic','rich','httpx','openvino','starlette') if x in sys.modules]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_every_public_name_after_importing_everything() -> None:
    """A name must not be shadowed by a module, whatever was imported before it is touched."""
    names = [
        "headrace." + path.relative_to(SRC).with_suffix("").as_posix().replace("/", ".")
        for _, path in modules()
        if path.name not in ("__init__.py", "__main__.py")
    ]
    code = (
        "import importlib, types, headrace\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "for name in headrace.__all__:\n"
        "    assert not isinstance(getattr(headrace, name), types.ModuleType), name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_closure_of_the_core_is_small() -> None:
    from headrace.ops.doctor import closure

    found = closure()
    assert "headrace" in found
    assert len(found) <= 40, sorted(found)


def test_the_project_speaks_of_itself_alone() -> None:
    """No names of machines, workplaces or registries in tracked files."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    here = "/(wor" + "k|far" + "m|root)/|[.]librar" + "y/|pythonho" + "sted"
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if not path.is_file() or path.suffix in (".png", ".ico", ".svg"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found = re.search(here, text)
        assert found is None, f"{name}: {found and found.group()}"
        inside = name.split("/")[0]
        if inside not in ("tests", "benchmarks"):
            assert "../sha" + "red" not in text, name
