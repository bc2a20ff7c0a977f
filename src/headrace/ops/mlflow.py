"""A release shown to MLflow: a run, a registered model version that answers by itself, aliases in step.

The registry of releases decides; MLflow mirrors it for teams that have a server, and is never on
the way from a question to its answer. What is logged is the exported release, so that
``mlflow.pyfunc.load_model("models:/NAME@production")`` and ``mlflow models serve`` work wherever
Headrace is installed. The only file that imports MLflow; its telemetry is off.
"""

from __future__ import annotations

import atexit
import json
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import HeadraceError, InputError, SettingsError, StateError
from headrace.extras import need
from headrace.network import is_loopback, require
from headrace.releases.archive import export, read_in
from headrace.resources import build
from headrace.settings import FILE, Settings, load, tell_libraries
from headrace.types import Answer, Release, Report, to_json

if TYPE_CHECKING:
    from headrace.flows.app import App

log = logging.getLogger("headrace.ops")

ALIASES = ("production", "staging")
TAG = "headrace.release"
ARCHIVE = "release"
# What MLflow runs to make the model (models from code); the class is below, in this file.
CODE = "from headrace.ops.mlflow import answer_as_model\n\nanswer_as_model()\n"


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What MLflow has of a release: ``version`` of the registered model, ``run``, aliases on it.

    ``new`` is False where the release was there already; then only aliases moved.
    """

    name: str
    release: str
    uri: str
    version: str
    run: str
    aliases: tuple[str, ...]
    new: bool


# --------------------------------------------------------------------------- the door


def push(root: Path, target: str, uri: str | None = None) -> Pushed:
    """Log a release (NAME@ALIAS or NAME@ID) and set the aliases of its name as the registry has them.

    ``uri``: of the tracking server; None takes ``[mlflow] uri`` of headrace.toml. Pushing the same
    release again logs nothing twice. Raises ExtraMissing, SettingsError (no address),
    NetworkRefused, NotFound (no such release), StateError (the server said no).
    """
    settings = load(root)
    where = _allowed(uri or settings.mlflow.uri, settings)
    release = build.registry(root).resolve(target if "@" in target else f"{target}@production")
    with _library(where) as mlflow:
        client = mlflow.MlflowClient(tracking_uri=where)
        known = _version(client, release)
        version = known or _log(mlflow, client, root, release)
        _align(mlflow, client, root, release.name)
        stored = client.get_model_version(release.name, version)
        return Pushed(
            name=release.name,
            release=release.id,
            uri=where,
            version=str(version),
            run=str(stored.run_id or ""),
            aliases=tuple(sorted(stored.aliases)),
            new=known is None,
        )


def keep_in_step(root: Path, name: str, release: Release | None = None) -> str:
    """After a promotion, or a new ``release``: bring MLflow to what the registry says, where a server is
    configured.

    Never raises for what MLflow does or does not do: the registry has decided, the mirror may lag.
    Returns "" or what went wrong; the next promotion, or ``headrace mlflow push``, mends it.
    """
    settings = load(root)
    if not settings.mlflow.uri:
        return ""
    try:
        where = _allowed(settings.mlflow.uri, settings)
        with _library(where) as mlflow:
            client = mlflow.MlflowClient(tracking_uri=where)
            if release is not None and _version(client, release) is None:
                _log(mlflow, client, root, release)
            _align(mlflow, client, root, name)
    except HeadraceError as error:
        log.warning("MLflow was not brought in step: %s", error)
        return str(error)
    return ""


def _allowed(uri: str, settings: Settings) -> str:
    if not uri:
        raise SettingsError(
            "No MLflow server is named.",
            hint="Give --uri http://127.0.0.1:5000, or set uri under [mlflow] in headrace.toml.",
        )
    if uri.startswith(("http://", "https://")):
        require(uri, settings.network, named=True)
        return uri.rstrip("/")
    if uri.startswith("sqlite:///"):
        return uri
    raise InputError(
        f"{uri!r} is not an address of MLflow that can be used here.",
        hint="Write http://HOST:PORT of a running server, or sqlite:///PATH for a file.",
    )


@contextmanager
def _library(uri: str) -> Iterator[Any]:
    """MLflow, pointed at ``uri`` within the block; its errors come out as ours."""
    tell_libraries(
        MLFLOW_DISABLE_TELEMETRY="true",
        DO_NOT_TRACK="true",
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="2",
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",  # our standard output is for results
    )
    if is_loopback(uri):  # a proxy would take this off the machine
        tell_libraries(NO_PROXY="127.0.0.1,localhost")
    mlflow = need("mlflow", extra="mlflow", for_what="Showing releases to MLflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    before = mlflow.get_tracking_uri() if mlflow.tracking.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)  # the registry follows it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield mlflow
    except mlflow.exceptions.MlflowException as error:
        raise StateError(
            f"MLflow at {uri!r} did not do it: {str(error).splitlines()[0][:300]}",
            hint="Check that the server runs and takes requests from here.",
        ) from error
    finally:
        mlflow.set_tracking_uri(before)


# --------------------------------------------------------------------------- what is logged


def _version(client: Any, release: Release) -> str | None:
    """The version of the registered model that holds a release already."""
    found = client.search_model_versions(f"name = '{release.name}'", max_results=1000)
    return next((str(v.version) for v in found if v.tags.get(TAG) == release.id), None)


def _log(mlflow: Any, client: Any, root: Path, release: Release) -> str:
    """One run with parameters, metrics, the manifest and the model; the new version's number."""
    manifest = release.manifest
    reports = _reports(root, release)
    mlflow.set_experiment(release.name)
    with (
        tempfile.TemporaryDirectory(prefix="headrace-mlflow-") as folder,
        mlflow.start_run(run_name=f"{release.name} {release.version} ({release.id[:12]})") as run,
    ):
        mlflow.log_params(parameters(release, reports))
        mlflow.set_tags({TAG: release.id, "headrace.version": str(release.version)})
        if values := metrics(reports):
            mlflow.log_metrics(values)
        mlflow.log_dict(to_json(manifest), "manifest.json")
        for report in reports:
            head = {key: value for key, value in to_json(report).items() if key != "rows"}
            mlflow.log_dict(head, f"reports/{report.id}.json")
        archive = Path(folder) / f"{release.name}.hrelease"
        export(build.bundles(root), release, archive)
        code = Path(folder) / "model.py"
        code.write_text(CODE, encoding="utf-8")
        info = mlflow.pyfunc.log_model(
            name=release.name,
            python_model=str(code),
            artifacts={ARCHIVE: str(archive)},
            registered_model_name=release.name,
            pip_requirements=requirements(manifest["distributions"]),
            signature=_signature(mlflow, root, release),
            metadata={TAG: release.id},
        )
        version = str(info.registered_model_version)
        for key, value in ((TAG, release.id), ("fingerprint", str(manifest["fingerprint"]))):
            client.set_model_version_tag(release.name, version, key, value)
        log.info("MLflow run %s", run.info.run_id)
    return version


def parameters(release: Release, reports: Sequence[Report]) -> dict[str, str]:
    """What made the release, as MLflow's parameters: short texts."""
    manifest = release.manifest
    found: dict[str, Any] = {
        "release": release.id,
        "fingerprint": manifest["fingerprint"],
        "entry": manifest["entry"],
        "python": manifest["python"],
        "reproducible": manifest["reproducible"],
    }
    for key, base in manifest["knowledge"].items():
        name = key.partition(":")[2]
        found[f"kb.{name}.version"] = base.get("version")
        found[f"kb.{name}.documents"] = base.get("documents")
    for key, identity in manifest["resources"].items():
        kind, _, name = key.partition(":")
        if isinstance(identity, Mapping):
            if kind == "model":
                found[f"model.{name}"] = identity.get("model") or identity.get("hash") or "none"
            elif "corpus" in identity:
                found[f"kb.{name}.corpus"] = identity["corpus"]
                embedder = identity.get("embedder")
                if isinstance(embedder, Mapping):
                    found[f"kb.{name}.embedder"] = f"{embedder.get('name')} {embedder.get('precision')}"
    for report in reports[:1]:
        for setting in ("examples", "metrics", "confidence"):
            if setting in report.settings:
                found[f"evaluation.{setting}"] = report.settings[setting]
    return {
        _name(key): (value if isinstance(value, str) else json.dumps(to_json(value)))[:500]
        for key, value in found.items()
        if value is not None
    }


def metrics(reports: Sequence[Report]) -> dict[str, float]:
    """Value, low and high of what reports measured; of several reports the newest that has a metric."""
    found: dict[str, float] = {}
    for report in reports:
        for measured in report.measurements:
            for part in ("value", "low", "high"):
                number = measured.get(part)
                if isinstance(number, (int, float)):
                    name = str(measured["name"]) + ("" if part == "value" else f".{part}")
                    found.setdefault(_name(name), float(number))
    return found


def _name(text: str) -> str:
    """A name that MLflow takes: ``hit@4`` becomes ``hit_at_4``."""
    return re.sub(r"[^\w\-. /:]", "_", text.replace("@", "_at_"))[:250]


def _reports(root: Path, release: Release) -> list[Report]:
    """Reports about the release's fingerprint, the newest first."""
    reports: list[Report] = build.reports(root).list(subject=release.manifest["fingerprint"], limit=20)
    return sorted(reports, key=lambda report: -report.created)


def requirements(distributions: Sequence[str]) -> list[str]:
    """``name-version`` of a manifest as pip's requirements: the environment that the release is sealed to."""
    pairs = (item.partition("-") for item in distributions)
    return sorted({f"{name}=={version}" for name, _, version in pairs if name and version})


_TYPES = {"string": "string", "integer": "long", "number": "double", "boolean": "boolean"}


def _signature(mlflow: Any, root: Path, release: Release) -> Any:
    """The application's parameters as columns. None where one has a type that columns do not have."""
    from headrace.flows.load import load as load_app

    schema = load_app(f"{release.name}@{release.id}", root=root).signature.schema()
    types = mlflow.types
    columns = []
    for name, about in schema.get("properties", {}).items():
        kinds = [about] if "type" in about else about.get("anyOf", [])
        plain = [_TYPES[kind["type"]] for kind in kinds if kind.get("type") in _TYPES]
        if not plain:
            return None
        needed = name in schema.get("required", ())
        columns.append(types.ColSpec(type=plain[0], name=name, required=needed))
    return mlflow.models.ModelSignature(inputs=types.Schema(columns))


# --------------------------------------------------------------------------- aliases


def _align(mlflow: Any, client: Any, root: Path, name: str) -> None:
    """MLflow's aliases to where the registry's point; what they point to is logged where it is not yet."""
    registry = build.registry(root)
    live = registry.live(name)
    for alias in ALIASES:
        id = live.at(alias)
        if id is None:
            if any(model.name == name for model in client.search_registered_models(f"name = '{name}'")):
                client.delete_registered_model_alias(name, alias)
            continue
        release = registry.release(id)
        version = _version(client, release) or _log(mlflow, client, root, release)
        client.set_registered_model_alias(name, alias, version)


# --------------------------------------------------------------------------- the model


def answer_as_model() -> None:
    """Called by the code that MLflow runs: registers the model with it."""
    tell_libraries(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
    mlflow = need("mlflow", extra="mlflow", for_what="A model of MLflow")
    base = need("mlflow.pyfunc", extra="mlflow").PythonModel

    class Model(base):  # type: ignore[misc, valid-type]  # MLflow's class, known only when it is there
        """Answers with an exported release, unpacked into a folder that goes with the process."""

        def load_context(self, context: Any) -> None:
            folder = tempfile.mkdtemp(prefix="headrace-release-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            self.app = opened(Path(context.artifacts[ARCHIVE]), Path(folder))

        # Without types: MLflow would take them for a schema of its own, and refuses most.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return answers(self.app, records(model_input))

    mlflow.models.set_model(Model())


def opened(archive: Path, folder: Path) -> App:
    """The application in an exported release, unpacked below ``folder``; it leaves no traces there."""
    from headrace.flows.load import load as load_app

    (folder / FILE).write_text("[ledger]\nenabled = false\n", encoding="utf-8")
    release = read_in(
        build.bundles(folder), build.registry(folder), archive, who="mlflow", why="loaded as a model"
    )
    return load_app(f"{release.name}@{release.id}", root=folder)


def records(given: Any) -> list[dict[str, Any]]:
    """Rows from what MLflow hands over: a table, a row, or a list of rows."""
    if hasattr(given, "to_dict"):
        rows = given.to_dict(orient="records")
    else:
        rows = [given] if isinstance(given, Mapping) else list(given)
    return [{str(k): v for k, v in row.items() if v is not None and v == v} for row in rows]


def answers(app: App, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """One plain JSON value a row; an Answer is its text, whether it abstained, and its citations."""
    from headrace.flows.run import map as run_rows

    return [_plain(output) for output in run_rows(lambda row: app.run(row).output, rows)]


def _plain(output: Any) -> Any:
    if isinstance(output, Answer):
        return {
            "text": output.text,
            "abstained": output.abstained,
            "citations": to_json(output.citations),
            "answered_by": output.answered_by,
            "confidence": output.confidence,
        }
    return to_json(output)
