"""OpenVINO, the one runtime of the core: loaded lightly, and the compiled graph run from threads.

The only file that names ``openvino``. Knows nothing of texts, weights or folders of models.

``import openvino`` runs 0.3 s of Python (operator sets, a converter that imports
``openvino_telemetry``). Running a saved graph needs none of it, so :func:`light` loads the
extension module alone, in 0.04 s; :func:`full` is for building a graph, once per machine.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headrace.errors import ExtraMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Mask = NDArray[np.float32]

_EXTENSION = "openvino._pyopenvino"
_lock = threading.Lock()


def light() -> Any:
    """OpenVINO's extension module, without the Python package around it where that is possible.

    A later ``import openvino`` by anybody finds the module loaded and works as ever.
    """
    with _lock:
        if _EXTENSION in sys.modules:
            return sys.modules[_EXTENSION]
        found = _spec()
        if sys.platform != "win32" and "openvino" not in sys.modules:
            # Windows needs the search path for libraries that the package sets up
            for folder in found.submodule_search_locations or ():
                for suffix in EXTENSION_SUFFIXES:
                    if (file := Path(folder) / f"_pyopenvino{suffix}").is_file():
                        return _load(file)
    return importlib.import_module(_EXTENSION)


def full() -> ModuleType:
    """The whole package, for building graphs, without the converter that brings telemetry.

    ``openvino/__init__.py`` tolerates that its converter cannot be imported; whoever wants
    ``openvino.convert_model`` later gets it on first use.
    """
    light()
    converter = "openvino.tools.ovc"
    with _lock:
        if "openvino" in sys.modules or converter in sys.modules:
            return importlib.import_module("openvino")
        sys.modules[converter] = None  # type: ignore[assignment]
        try:
            package = importlib.import_module("openvino")
        finally:
            del sys.modules[converter]
        package.__dict__.setdefault("__getattr__", _convert_model_on_demand)
        return package


def _convert_model_on_demand(name: str) -> Any:
    if name == "convert_model":
        return importlib.import_module("openvino.tools.ovc").convert_model
    raise AttributeError(f"module 'openvino' has no attribute {name!r}")


def _spec() -> Any:
    found = importlib.util.find_spec("openvino")
    if found is None:
        raise ExtraMissing(
            "The embedder needs the package 'openvino', which is not installed.",
            hint="Install Headrace again: pip install --force-reinstall headrace",
        )
    return found


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_EXTENSION, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_EXTENSION] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(_EXTENSION, None)
        raise
    return module


class Graph:
    """A compiled graph. Any number of threads may use it: each batch takes a free request.

    ``streams`` batches are run side by side. Requests are created when all are busy and kept for
    the next batch.
    """

    def __init__(self, path: Path, config: dict[str, Any], streams: int = 1) -> None:
        self._openvino = light()
        core = self._openvino.Core()
        if config.get("INFERENCE_PRECISION_HINT") == "bf16" and not _has_bf16(core):
            # without the instructions bf16 is emulated, slower than f32 and less exact
            config = {**config, "INFERENCE_PRECISION_HINT": "f32"}
        self._compiled = core.compile_model(str(path), "CPU", config)
        self._streams = streams
        self._free: list[Any] = []
        self._lock = threading.Lock()

    def map(self, batches: Iterable[tuple[Ids, Mask]]) -> Iterator[NDArray[np.float32]]:
        """(n, t) token ids and mask, batch by batch → (n, width) float32, fresh arrays, in order.

        The next batch is asked for while earlier ones run.
        """
        running: deque[tuple[Any, Ids, Mask]] = deque()
        try:
            for ids, mask in batches:
                running.append((self._start(ids, mask), ids, mask))
                if len(running) > self._streams:
                    yield self._finish(running)
            while running:
                yield self._finish(running)
        finally:
            # the arrays belong to the requests until they are done, whatever happened meanwhile
            for request, _, _ in running:
                request.wait()

    def _start(self, ids: Ids, mask: Mask) -> Any:
        with self._lock:
            request = self._free.pop() if self._free else self._compiled.create_infer_request()
        tensor = self._openvino.Tensor
        request.set_input_tensor(0, tensor(ids, True))
        request.set_input_tensor(1, tensor(mask, True))
        request.start_async({}, None)
        return request

    def _finish(self, running: deque[tuple[Any, Ids, Mask]]) -> NDArray[np.float32]:
        request = running[0][0]
        request.wait()
        running.popleft()
        result: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
        with self._lock:
            self._free.append(request)
        return result


def _has_bf16(core: Any) -> bool:
    """Whether this processor computes in bf16 (AVX-512 BF16 or AMX)."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def version() -> str:
    """OpenVINO's version, with its build."""
    return str(light().get_version())
