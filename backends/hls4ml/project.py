"""An hls4ml project in memory: layer list -> ModelGraph -> files, with nothing left to chance.

hls4ml writes to a folder; that folder is temporary. What depends on the machine or the moment (the stamp of its
Python bridge, the configuration with its output path) is left out, so the same graph gives the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from boardfit.errors import InternalError, ToolError
from boardfit.estimate.fpga import Fifo
from boardfit.ir import FixedPoint
from boardfit.options import HlsTool, IoType, Strategy

from .distributed_arithmetic import adder_graphs
from .extension import extension
from .fifo_pragmas import bind_storage, set_depths
from .layer import HlsLayer
from .layers import LayerList
from .streams import FifoKey

VERSION = "1.3.0"
"""The hls4ml whose arithmetic the interpreter was compared with."""

TOOL_NAMES = {HlsTool.VIVADO: "Vivado", HlsTool.VITIS: "Vitis"}
UNCERTAINTY = {HlsTool.VIVADO: "12.5%", HlsTool.VITIS: "27%"}
"""Share of the clock period kept for routing: the tools' defaults, as in hls4ml."""

STRATEGY_NAMES = {
    Strategy.LATENCY: "Latency",
    Strategy.RESOURCE: "Resource",
    Strategy.DISTRIBUTED_ARITHMETIC: "distributed_arithmetic",
    Strategy.CODEBOOK: "Latency",
}

LEFT_OUT = ("build_lib.sh", "hls4ml_config.yml", "_bridge.cpp", "_test.cpp", "tb_data/", "firmware/weights/README.md")
"""hls4ml's files that are not part of the project: the Python bridge, its configuration, its test bench."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the top-level function.

    Attributes:
        name: C++ variable.
        cpp_type: C++ type of an element, or of a pack of elements in a stream.
        element: type of one value.
        count: number of values.
        pack: values that travel through a FIFO together; 1 without FIFOs.
    """

    name: str
    cpp_type: str
    element: FixedPoint
    count: int
    pack: int = 1


@dataclass(frozen=True, slots=True)
class Project:
    """Files of an hls4ml project, its interface, and the numbers hls4ml gave its layers (layer name -> number)."""

    name: str
    files: Mapping[str, bytes]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    numbers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Settings:
    """What concerns the whole project."""

    name: str
    tool: HlsTool
    io_type: IoType
    part: str
    clock_ns: float


def write_project(network: LayerList, settings: Settings, fifos: Mapping[FifoKey, Fifo] | None = None) -> Project:
    """Let hls4ml write a project.

    Args:
        fifos: depth of every FIFO of a streamed project; without, those of hls4ml.

    Raises:
        ToolError: hls4ml, or da4ml where a layer needs it, is not installed.
    """
    with (
        tempfile.TemporaryDirectory(prefix="boardfit-hls4ml-") as folder,
        quiet_hls4ml(),
        extension(Path(folder), settings.tool),
        adder_graphs(network),
    ):
        from hls4ml.model.graph import ModelGraph

        target = Path(folder) / "project"
        model = ModelGraph.from_layer_list(
            _config(network, settings, target),
            [_as_dict(layer) for layer in network.layers],
            inputs=list(network.inputs),
            outputs=list(network.outputs),
        )
        _check_unchanged(model, network)
        bound = set_depths(model, fifos) if fifos else ()
        model.write()
        files = {
            path.relative_to(target).as_posix(): path.read_bytes()
            for path in sorted(target.rglob("*"))
            if path.is_file()
        }
        elements = {layer.name: layer.precision["result"] for layer in network.layers}
        inputs = [_port(v, elements[n]) for v, n in zip(model.get_input_variables(), network.inputs, strict=True)]
        outputs = [_port(v, elements[n]) for v, n in zip(model.get_output_variables(), network.outputs, strict=True)]
        numbers = {name: int(node.index) for name, node in model.graph.items()}
    kept = {path: content for path, content in files.items() if not _is_left_out(path)}
    source = f"firmware/{settings.name}.cpp"
    kept[source] = bind_storage(kept[source].decode(), bound, settings.tool).encode()
    return Project(settings.name, kept, tuple(inputs), tuple(outputs), numbers)


@contextlib.contextmanager
def quiet_hls4ml() -> Iterator[None]:
    """hls4ml imported, silent, and kept from importing Keras, which its writer tries for every project.

    Raises:
        ToolError: hls4ml is not installed, or is another version than the one the arithmetic was compared with.
    """
    hidden = {name: sys.modules.get(name) for name in ("keras",)}
    absent = [name for name, module in hidden.items() if module is None]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import keras` fail at once
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                import hls4ml  # noqa: F401  # registers backends and layers
            except ImportError as error:
                raise ToolError(f"hls4ml cannot be imported: {error}", hint="pip install 'boardfit[fpga]'") from error
            installed = version("hls4ml")
            if installed != VERSION:
                raise ToolError(
                    f"hls4ml {installed} is installed, but projects are verified with {VERSION}",
                    hint=f"pip install hls4ml=={VERSION}",
                )
            yield
    finally:
        for name in absent:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


def _config(network: LayerList, settings: Settings, target: Path) -> dict[str, Any]:
    return {
        "OutputDir": str(target),
        "ProjectName": settings.name,
        "Backend": TOOL_NAMES[settings.tool],
        "Part": settings.part,
        "ClockPeriod": f"{settings.clock_ns:g}",
        "ClockUncertainty": UNCERTAINTY[settings.tool],
        "IOType": settings.io_type.value,
        "HLSConfig": {
            "Model": {"Precision": "ap_fixed<16,6>", "ReuseFactor": 1, "Strategy": "Latency"},
            "LayerName": {layer.name: _layer_config(layer) for layer in network.layers},
        },
    }


ATTRIBUTE_TYPES = ("exp_table", "inv_table", "inv_inp", "inp_norm")
"""Types that hls4ml takes as layer attributes, not from the configuration."""


def _layer_config(layer: HlsLayer) -> dict[str, Any]:
    precision = {key: str(t) for key, t in layer.precision.items() if key not in ATTRIBUTE_TYPES}
    config: dict[str, Any] = {"Precision": precision}
    if layer.plan is not None:
        config["ReuseFactor"] = layer.plan.reuse_factor
        config["Strategy"] = STRATEGY_NAMES[layer.plan.strategy]
    return config


def _as_dict(layer: HlsLayer) -> dict[str, Any]:
    from hls4ml.backends import get_backend
    from hls4ml.model.types import NamedType

    convert = get_backend("vivado").convert_precision_string
    types = {
        f"{key}_t": NamedType(f"{layer.name}_{key}_t", convert(str(layer.precision[key])))
        for key in (*ATTRIBUTE_TYPES, *(("accum",) if layer.class_name == "Softmax" else ()))
        if key in layer.precision
    }
    return {
        "name": layer.name,
        "class_name": layer.class_name,
        "inputs": list(layer.inputs),
        **layer.attributes,
        **types,
    }


def _check_unchanged(model: Any, network: LayerList) -> None:
    """hls4ml's passes may fuse or drop layers and move reuse factors; none of that may happen here.

    Raises:
        InternalError: a layer is gone, or has another type, strategy or reuse factor than was asked for.
    """
    for layer in network.layers:
        node = model.graph.get(layer.name) or model.graph.get("repack_" + layer.name)
        if node is None:
            raise InternalError(f"hls4ml removed layer '{layer.name}' ({layer.class_name})")
        found = node.get_output_variable().type.precision
        wanted = layer.precision["result"]
        actual = (bool(found.signed), found.width, found.fractional, _mode(found.rounding_mode, wanted.rounding.value))
        asked = (wanted.signed, wanted.width, wanted.frac, wanted.rounding.value)
        overflow = _mode(found.saturation_mode, wanted.overflow.value)
        if actual != asked or overflow != wanted.overflow.value:
            raise InternalError(f"hls4ml made the result of '{layer.name}' {found}, not {wanted}")
        plan = layer.plan
        if plan is not None and node.get_attr("reuse_factor") != plan.reuse_factor:
            given = node.get_attr("reuse_factor")
            raise InternalError(f"hls4ml made the reuse factor of '{layer.name}' {given}, not {plan.reuse_factor}")
        if plan is not None and node.get_attr("strategy").lower() != STRATEGY_NAMES[plan.strategy].lower():
            raise InternalError(f"hls4ml made the strategy of '{layer.name}' {node.get_attr('strategy')}")


def _mode(found: Any, default: str) -> str:
    return default if found is None else f"AP_{found.name}"


def _port(variable: Any, element: FixedPoint) -> Port:
    pack = int(getattr(variable.type, "n_elem", 1))
    return Port(variable.name, variable.type.name, element, int(variable.size()), pack)


def _is_left_out(path: str) -> bool:
    return any(path == part or path.startswith(part) or path.endswith(part) for part in LEFT_OUT)
