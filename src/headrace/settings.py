"""headrace.toml and the environment → one frozen :class:`Settings` per project root.

The only reader of ``os.environ``. Unknown tables and keys are errors with the nearest known name,
because a setting that silently does nothing is worse than none.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar, cast

from headrace.errors import SettingsError

_T = TypeVar("_T")

FILE = "headrace.toml"
STATE = ".headrace"


@dataclass(frozen=True, kw_only=True)
class AppSettings:
    """``[app]``: which application this project is."""

    entry: str = ""  # "app.py:handbook"


@dataclass(frozen=True, kw_only=True)
class KnowledgeSettings:
    """``[kb]``: the knowledge base that commands mean when none is named, and how it is built."""

    default: str = "kb"
    chunk_tokens: int = 200  # special tokens included
    chunk_overlap: int = 40
    timeout: float | None = None  # seconds for one search


@dataclass(frozen=True, kw_only=True)
class EmbedderSettings:
    """``[embedder]``: ``model`` is a folder, a package or a hub id; ``precision`` f32, bf16, int8."""

    model: str = ""
    precision: str = "int8"
    threads: int = 0  # 0: one per core


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """``[models.NAME]``: a named endpoint or local model.

    ``key`` is the *name* of an environment variable, never the secret. Prices are US dollars per
    million tokens.
    """

    provider: str = "openai"
    model: str = ""
    url: str = ""
    key: str = ""
    window: int | None = None
    timeout: float = 60.0
    retries: int = 3
    input_price: float | None = None
    output_price: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LedgerSettings:
    """``[ledger]``: what is kept about runs, and how long.

    ``content`` False keeps no texts, ``mask`` True keeps texts with personal data and secrets masked.
    """

    enabled: bool = True
    content: bool = True
    mask: bool = False
    retention_days: float = 90.0
    retention_mb: float = 1024.0


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """``[serve]``: the address and the limits of the server. ``key`` names the variable that holds it.

    Seconds: ``wait`` for a place in the queue, ``timeout`` for one run, ``drain`` for runs to finish
    at shutdown.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    concurrency: int = 8
    queue: int = 64
    wait: float = 30.0
    timeout: float = 120.0
    drain: float = 30.0
    body_mb: float = 1.0
    key: str = "HEADRACE_KEY"


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """``[[release.gates]]``: what a report must show before production moves.

    ``metric`` with ``min``, ``max`` or both (on the metric's interval), or ``relative`` ("not worse"
    than the live release, paired; ``margin`` in place of the metric's own). ``kind`` narrows to one
    kind of report, ``report`` to one report by its id.
    """

    metric: str = ""
    min: float | None = None
    max: float | None = None
    relative: str = ""
    margin: float | None = None
    kind: str = ""
    report: str = ""


@dataclass(frozen=True, kw_only=True)
class ReleaseSettings:
    """``[release]``: what goes into a release besides its code, and what it must show.

    ``include`` lists globs from the project's root. ``environment`` is ``exact`` (Python and all
    distributions must be those of the release) or ``any``. ``confidence`` is what all gates keep
    together. ``licence`` is what the licences of its local models must allow: ``commercial`` (those
    that forbid it are refused), ``permissive``, ``any``, or identifiers: "apache-2.0,mit".
    """

    include: tuple[str, ...] = ()
    environment: str = "exact"
    confidence: float = 0.95
    licence: str = "commercial"
    gates: tuple[GateSettings, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """``[guards]``: what keeps strangers' text from giving orders, each with a way to switch it off.

    ``fences``: marks round foreign text, clauses about it, the order repeated behind it. ``injection``:
    what happens to orders found in passages and tool results (``strip, flag, off``). ``questions``: to
    questions and tasks that are attacks (``refuse, flag, off``). ``leakage``: to answers that repeat
    the instructions or a secret (``withhold, flag, off``). ``personal``: to answers that ask the user for
    personal data such as a social security number (``withhold, flag, off``). ``toxicity``: to answers of a
    model that the toxicity head gives ``toxicity_threshold`` (above 0, to 1) or more (``off, flag,
    withhold``). ``policy`` is a rule file, from the project's root. ``max_input``: the longest text an
    application takes, in code points; 0 is no limit.
    """

    fences: bool = True
    injection: str = "strip"
    questions: str = "refuse"
    leakage: str = "withhold"
    personal: str = "withhold"
    toxicity: str = "off"
    toxicity_threshold: float = 0.5
    policy: str = ""
    max_input: int = 0


GUARD_CHOICES: Mapping[str, tuple[str, ...]] = {
    "injection": ("strip", "flag", "off"),
    "questions": ("refuse", "flag", "off"),
    "leakage": ("withhold", "flag", "off"),
    "personal": ("withhold", "flag", "off"),
    "toxicity": ("off", "flag", "withhold"),
}


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """``[audit]``: what people have to say about an application, and what its figures must show.

    ``thresholds`` maps the id of a line to its limit (``[audit.thresholds]``); a line without one is
    not assessed. ``risks`` maps a risk of the register to ``owner`` and, where no check is ours,
    ``check`` and ``threshold`` in words. ``inputs`` are values for parameters besides the question.
    """

    owner: str = ""
    contact: str = ""
    intended_use: str = ""
    forbidden_use: str = ""
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    risks: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MlflowSettings:
    """``[mlflow]``: the tracking server that releases and promotions are shown to; "" is none.

    ``uri`` is what MLflow takes: ``http://127.0.0.1:5000`` or ``sqlite:///mlflow.db``.
    """

    uri: str = ""


Policy = Literal["off", "named", "open"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that is configured for one project root."""

    root: Path
    name: str = ""
    network: Policy = "named"
    app: AppSettings = field(default_factory=AppSettings)
    kb: KnowledgeSettings = field(default_factory=KnowledgeSettings)
    embedder: EmbedderSettings = field(default_factory=EmbedderSettings)
    default_model: str = ""
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    serve: ServeSettings = field(default_factory=ServeSettings)
    release: ReleaseSettings = field(default_factory=ReleaseSettings)
    mlflow: MlflowSettings = field(default_factory=MlflowSettings)
    guards: GuardSettings = field(default_factory=GuardSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)

    @property
    def state(self) -> Path:
        """The folder of the application's state: ledger, caches, knowledge bases."""
        return self.root / STATE


def environment(name: str, default: str = "") -> str:
    """An environment variable, stripped; ``default`` where it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def environment_names() -> tuple[str, ...]:
    """Names of the Headrace variables that are set (never their values)."""
    return tuple(sorted(key for key in os.environ if key.startswith("HEADRACE_")))


def child_environment(**extra: str) -> dict[str, str]:
    """A copy of the environment for a child process, with additions."""
    return {**os.environ, **extra}


def tell_libraries(**values: str) -> None:
    """Set variables that a library reads when it is imported, for this process and its children.

    For libraries that know no other way (MLflow's telemetry and log level); what a person set wins.
    """
    for name, value in values.items():
        os.environ.setdefault(name, value)


def home() -> Path:
    """The folder per user for models: ``HEADRACE_HOME``, else the platform's data folder."""
    if named := environment("HEADRACE_HOME"):
        return Path(named).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(environment("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(environment("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "headrace"


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above ``start`` that has a headrace.toml, else ``start`` itself."""
    start = (start or Path.cwd()).absolute()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder
    return start


# The variables that a Settings depends on. Asked for one by one at each run: the whole environment
# is decoded anew whenever it is listed.
_VARIABLES = (
    "HEADRACE_EMBEDDER",
    "HEADRACE_LEDGER",
    "HEADRACE_MODEL",
    "HEADRACE_NETWORK",
    "HEADRACE_PRECISION",
    "HEADRACE_THREADS",
)


class _Known(NamedTuple):
    """Settings that were read, and what they were read from: the file's time and size, (0, 0) for none."""

    file: str
    stamp: tuple[int, int]
    env: tuple[str | None, ...]
    settings: Settings


_cache: dict[Path, _Known] = {}


def load(root: Path | None = None) -> Settings:
    """The settings of a project root. Read again only when the file or the environment changed."""
    env = tuple(os.environ.get(name) for name in _VARIABLES)
    known = _cache.get(root) if root is not None else None
    if root is None or known is None or known.stamp == (0, 0):  # else nothing has to be looked for
        root = find_root(root)
        known = _cache.get(root)
    path = known.file if known is not None else str(root / FILE)
    try:
        stat = os.stat(path)
        stamp = (stat.st_mtime_ns, stat.st_size)
    except FileNotFoundError:
        gone = _cache.pop(root, None)
        if gone is not None and gone.stamp != (0, 0):
            return load(root)  # the file went away since: perhaps one further up holds now
        stamp = (0, 0)
    if known is not None and known.stamp == stamp and known.env == env:
        return known.settings
    settings = _read(root, Path(path) if stamp != (0, 0) else None)
    _cache[root] = _Known(file=path, stamp=stamp, env=env, settings=settings)
    return settings


def _read(root: Path, path: Path | None) -> Settings:
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"{path} is not valid TOML: {error}", hint="Correct that line; nothing was read."
            ) from error
    known = tuple("project app kb embedder models network ledger serve release mlflow guards audit".split())
    _refuse_unknown(data, known, where=str(path))
    models = dict(data.get("models", {}))
    default = models.pop("default", "")
    network = dict(data.get("network", {}))
    _refuse_unknown(network, ("policy",), where=f"{path} [network]")
    policy = environment("HEADRACE_NETWORK") or network.get("policy", "named")
    if policy not in ("off", "named", "open"):
        raise SettingsError(
            f"The network policy {policy!r} is not known.",
            hint="Use 'off' (nothing leaves the machine), 'named' (only what you name) or 'open'.",
        )
    project = dict(data.get("project", {}))
    _refuse_unknown(project, ("name",), where=f"{path} [project]")
    embedder = dict(data.get("embedder", {}))
    for key, variable in (("model", "HEADRACE_EMBEDDER"), ("precision", "HEADRACE_PRECISION")):
        if value := environment(variable):
            embedder[key] = value
    if threads := environment("HEADRACE_THREADS"):
        if not threads.isdecimal():
            raise SettingsError(
                f"HEADRACE_THREADS={threads!r} is not a number of threads.", hint="Use 0 for one per core."
            )
        embedder["threads"] = int(threads)
    ledger = dict(data.get("ledger", {}))
    if (switch := environment("HEADRACE_LEDGER")) in ("off", "0", "false"):
        ledger["enabled"] = False
    elif switch == "no-content":
        ledger["content"] = False
    return Settings(
        root=root,
        name=project.get("name", "") or root.name,
        network=cast(Policy, policy),
        app=_section(AppSettings, data.get("app", {}), f"{path} [app]"),
        kb=_section(KnowledgeSettings, data.get("kb", {}), f"{path} [kb]"),
        embedder=_section(EmbedderSettings, embedder, f"{path} [embedder]"),
        default_model=environment("HEADRACE_MODEL") or default,
        models=MappingProxyType(
            {
                name: _section(ModelSettings, table, f"{path} [models.{name}]")
                for name, table in models.items()
            }
        ),
        ledger=_section(LedgerSettings, ledger, f"{path} [ledger]"),
        serve=_section(ServeSettings, data.get("serve", {}), f"{path} [serve]"),
        release=_release(data.get("release", {}), f"{path} [release]"),
        mlflow=_section(MlflowSettings, data.get("mlflow", {}), f"{path} [mlflow]"),
        guards=_guards(data.get("guards", {}), f"{path} [guards]"),
        audit=_audit(data.get("audit", {}), f"{path} [audit]"),
    )


def _guards(table: Any, where: str) -> GuardSettings:
    found = _section(GuardSettings, table, where)
    for key, choices in GUARD_CHOICES.items():
        if getattr(found, key) not in choices:
            raise SettingsError(
                f"{where} {key} = {getattr(found, key)!r} is not known.", hint=f"Use {', '.join(choices)}."
            )
    if found.policy and (Path(found.policy).is_absolute() or ".." in Path(found.policy).parts):
        raise SettingsError(
            f"{where} policy = {found.policy!r} lies outside of the project.",
            hint="Put the rule file into the project: it travels with a release.",
        )
    if not 0 < found.toxicity_threshold <= 1:
        raise SettingsError(
            f"{where} toxicity_threshold = {found.toxicity_threshold} is no share above 0, to 1.",
            hint="0.5 finds most and errs on some people's English: see the head's card.",
        )
    if found.max_input < 0:
        raise SettingsError(f"{where} max_input = {found.max_input} is below 0.", hint="0 is no limit.")
    return found


def _audit(table: Any, where: str) -> AuditSettings:
    found = _section(AuditSettings, table, where)
    for name, value in found.thresholds.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SettingsError(
                f"{where[:-1]}.thresholds] {name} = {value!r} is no number.", hint="Write for example 0.1."
            )
    for name, risk in found.risks.items():
        if not isinstance(risk, Mapping):
            raise SettingsError(
                f"{where[:-1]}.risks] {name} = {risk!r} is no table.", hint=f"Write [audit.risks.{name}]."
            )
        _refuse_unknown(risk, ("owner", "check", "threshold"), f"{where[:-1]}.risks.{name}]")
    return found


def _release(table: Any, where: str) -> ReleaseSettings:
    """``[release]`` and its ``[[release.gates]]``; a gate that says nothing is an error."""
    if not isinstance(table, Mapping):
        raise SettingsError(f"{where} is {table!r}, not a table.", hint="Write it as [release] with keys.")
    rest = dict(table)
    listed, include = rest.pop("gates", []), rest.pop("include", [])
    if not isinstance(include, list) or not all(isinstance(item, str) for item in include):
        raise SettingsError(
            f"{where} include = {include!r} is no list of globs.",
            hint='Write: include = ["data/*.json"]',
        )
    if not isinstance(listed, list):
        raise SettingsError(
            f"{where} gates is {listed!r}, not a list of tables.",
            hint="Write each gate as [[release.gates]].",
        )
    gates = []
    for number, item in enumerate(listed, 1):
        here = f"{where[:-1]}.gates] number {number}"
        gate = _section(GateSettings, item, here)
        if not gate.metric:
            raise SettingsError(f"{here} names no metric.", hint='Add: metric = "answer_f1"')
        if gate.relative not in ("", "not worse"):
            raise SettingsError(
                f"{here} relative = {gate.relative!r} is not known.", hint='Write: relative = "not worse"'
            )
        if not gate.relative and gate.min is None and gate.max is None:
            raise SettingsError(
                f"{here} ({gate.metric}) demands nothing.",
                hint='Add min = 0.6, or max = 2.0, or relative = "not worse".',
            )
        if gate.relative and (gate.min is not None or gate.max is not None):
            raise SettingsError(
                f"{here} ({gate.metric}) is absolute and relative at once.", hint="Write two gates."
            )
        gates.append(gate)
    found = _section(ReleaseSettings, rest, where)
    if found.environment not in ("exact", "any"):
        raise SettingsError(
            f"{where} environment = {found.environment!r} is not known.", hint="Use 'exact' or 'any'."
        )
    if not 0.5 <= found.confidence < 1:
        raise SettingsError(
            f"{where} confidence = {found.confidence!r} is not between 0.5 and 1.", hint="Use 0.95."
        )
    return dataclasses.replace(found, include=tuple(include), gates=tuple(gates))


def _section(kind: type[_T], table: Any, where: str) -> _T:
    if not isinstance(table, Mapping):
        raise SettingsError(f"{where} is {table!r}, not a table.", hint="Write it as [name] with keys.")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    _refuse_unknown(table, tuple(known), where)
    for key, value in table.items():
        wanted = str(known[key].type)
        fits = (
            ("bool" in wanted and isinstance(value, bool))
            or ("str" in wanted and isinstance(value, str))
            or ("float" in wanted and isinstance(value, (int, float)) and not isinstance(value, bool))
            or ("int" in wanted and isinstance(value, int) and not isinstance(value, bool))
            or ("Mapping" in wanted and isinstance(value, Mapping))
        )
        if not fits:
            raise SettingsError(
                f"{where} {key} = {value!r} is not of type {wanted}.", hint="Correct the value."
            )
    return kind(**table)


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise SettingsError(
                f"{where} has {key!r}, which is not a setting.",
                hint=f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}.",
            )
