"""Loading applications: ``file.py:function``, a file, a folder with headrace.toml.

Loading imports the file and opens nothing: knowledge bases and models are handles until used.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from headrace.errors import NotFound, UserError
from headrace.flows.app import App
from headrace.flows.fingerprint import code_of
from headrace.resources import bindings
from headrace.resources.build import registry
from headrace.resources.handles import Handle
from headrace.settings import FILE, find_root
from headrace.settings import load as load_settings


def load(target: str | Path, *, root: str | Path | None = None) -> App:
    """The application behind ``file.py:function``, ``file.py`` (if it has one), or a project folder.

    ``NAME@ALIAS`` (staging, production, canary) and ``NAME@ID`` give the one out of that release,
    sealed: its own code, prompts, settings and knowledge base. ``root`` is the project whose
    releases are meant, by default the one around the current folder.

    NotFound says what was looked for and what is there; UserError shows where a file fails. For
    releases also Corrupt (a changed byte) and Sealed (another environment, a resource that is gone).
    """
    text = str(target)
    if is_release(text):
        from headrace.flows.sealed import load_release

        project = find_root(Path(root) if root is not None else None)
        return load_release(registry(project).resolve(text), project)
    path_text, colon, name = text.rpartition(":")
    if not colon or not path_text.endswith(".py"):
        path_text, name = text, ""
    path = Path(path_text).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise NotFound(
            f"There is no application file {path_text!r}.",
            hint="Give file.py:function, or a folder with a headrace.toml.",
        )
    module, created = _import(path.absolute())
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    if not apps:
        raise NotFound(f"{path} defines no application.", hint="Put @hr.app above a typed function in it.")
    if not name:
        if len(apps) > 1:
            raise UserError(
                f"{path} defines {len(apps)} applications.", hint=f"Name one: {path}:{next(iter(apps))}"
            )
        name = next(iter(apps))
    if name not in apps:
        near = difflib.get_close_matches(name, apps, n=1)
        raise NotFound(
            f"{path} has no application {name!r}.",
            hint=(f"Did you mean {near[0]!r}? " if near else "") + f"It has: {', '.join(apps)}.",
        )
    found = apps[name]
    found._handles = tuple(created)
    return found


def is_release(target: str) -> bool:
    """Whether a target names a release (``NAME@ALIAS``) and no file or folder."""
    name, at, alias = target.partition("@")
    return bool(at and name and alias and not {"/", "\\", ":"} & set(target)) and not Path(target).exists()


def load_exactly(target: str, code: str) -> App:
    """``load``, refused where the project's code is not what it was (used when an App is unpickled)."""
    app = load(target)
    here = code_of(app).digest
    if here != code:
        raise UserError(
            f"The code of {target!r} has changed since it was sent: {here[:12]} here, {code[:12]} there.",
            hint="Start the work again with the code as it is now.",
        )
    return app


def _from_folder(folder: Path) -> App:
    root = folder.absolute()
    if not (root / FILE).is_file():
        raise NotFound(
            f"{folder} has no {FILE}.",
            hint="Make a project with: headrace new NAME — or give file.py:function.",
        )
    entry = load_settings(root).app.entry
    if not entry:
        raise UserError(
            f"{root / FILE} does not say which application this is.",
            hint='Add: [app] and under it entry = "app.py:function"',
        )
    return load(str(root / entry))


def project_app(start: Path | None = None) -> App | None:
    """The application of the project around ``start`` (the current folder), None outside of one."""
    root = find_root(start)
    if not (root / FILE).is_file() or not load_settings(root).app.entry:
        return None
    return _from_folder(root)


_loaded: dict[Path, tuple[int, ModuleType, list[Handle]]] = {}


def _import(path: Path) -> tuple[ModuleType, list[Handle]]:
    stamp = path.stat().st_mtime_ns
    known = _loaded.get(path)
    if known is not None and known[0] == stamp:
        return known[1], known[2]
    name = f"headrace_app_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # siblings of the file can be imported, as with `python app.py`
    try:
        with bindings.record_created() as created:
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        line = next(
            (
                f.lineno
                for f in reversed(traceback.extract_tb(error.__traceback__))
                if f.filename == str(path)
            ),
            getattr(error, "lineno", None),
        )
        raise UserError(
            f"{path} could not be loaded: {type(error).__name__}: {error}"
            + (f" (line {line})" if line else ""),
            hint="Correct the file; nothing was run.",
        ) from error
    _loaded[path] = (stamp, module, list(created))
    return module, list(created)
