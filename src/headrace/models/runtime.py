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
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headrace.errors import ExtraMissing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    """A compiled graph. Any number of threads may call it: each call takes a free request.

    Requests are created when all are busy and kept for the next call.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self._openvino = light()
        core = self._openvino.Core()
        self._compiled = core.compile_model(str(path), "CPU", config)
        self._free: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, ids: NDArray[np.int32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, t) token ids and mask → (n, width) float32, a fresh array."""
        with self._lock:
            request = self._free.pop() if self._free else self._compiled.create_infer_request()
        tensor = self._openvino.Tensor
        request.set_input_tensor(0, tensor(ids, True))
        request.set_input_tensor(1, tensor(mask, True))
        request.start_async({}, None)
        request.wait()
        result: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
        with self._lock:
            self._free.append(request)
        return result


def version() -> str:
    """OpenVINO's version, with its build."""
    return str(light().get_version())
