"""QONNX quantizers and channels-last operators against their definition in standard operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from boardfit.errors import ModelError
from boardfit.frontend import import_model
from boardfit.ir.types import Affine
from boardfit.passes.layout import CanonicalLayout

from .harness import Case, Value, build, run_boardfit, samples
from .reference_qonnx import CHANNELS_LAST, QUANTIZERS, standard_model

X = (1, 4, 5, 3)
Nodes = Sequence[onnx.NodeProto]
GENERAL = "qonnx.custom_op.general"
QUARTER, ZERO = np.float32(0.25), np.float32(0)


def model_of(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Value], shape: Sequence[int] = X
) -> onnx.ModelProto:
    """A model with the QONNX domains."""
    domains: dict[str, int] = dict.fromkeys((*QUANTIZERS, CHANNELS_LAST), 1)
    return build(nodes, {"x": shape}, ["y"], constants, domains=domains)


def case_of(
    name: str, nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Value], shape: Sequence[int] = X
) -> Case:
    """A case whose reference is the rewritten model."""
    model = model_of(nodes, constants, shape)
    return Case(name, model, reference=standard_model(model))


def quant(bits: int, *, scale: Value = QUARTER, zero: Value = ZERO, domain: str = GENERAL, **options: Any) -> Case:
    """One quantizer of an activation."""
    op = options.pop("op", "Quant")
    node = helper.make_node(op, ["x", "s", "z", "b"], ["y"], name="q", domain=domain, **options)
    name = f"{domain} {op} {bits} bits scale {np.shape(scale)} zero {np.ravel(zero)[0]} {options}"
    return case_of(name, [node], {"s": scale, "z": zero, "b": np.float32(bits)})


def per_channel(*shape: int) -> np.ndarray:
    """Scales that differ."""
    return np.random.default_rng(0).uniform(0.05, 0.5, shape).astype(np.float32)


def trunc_model(
    bits_in: int, bits_out: int, version: int, mode: str, scale: float, domain: str = GENERAL
) -> onnx.ModelProto:
    """A Trunc node."""
    inputs = ["x", "s", "z", "i", *(["os"] if version == 2 else []), "o"]
    options: dict[str, Any] = {"signed": 1, "narrow": 0} if version == 2 else {}
    node = helper.make_node("Trunc", inputs, ["y"], domain=domain, rounding_mode=mode, **options)
    constants = {"s": scale, "z": 0.0, "i": bits_in, "o": bits_out}
    if version == 2:
        constants["os"] = scale * 2 ** (bits_in - bits_out)
    return model_of([node], {name: np.float32(value) for name, value in constants.items()})


def trunc(version: int, mode: str, domain: str = GENERAL) -> Case:
    """A Trunc node on integers times its scale: drops three bits."""
    model = trunc_model(8, 5, version, mode, 0.0625, domain)
    return Case(f"{domain} Trunc-{version} {mode}", model, reference=standard_model(model))


ACTIVATIONS = [
    *(quant(bits, signed=s, narrow=n) for bits in (2, 4, 8) for s in (0, 1) for n in (0, 1)),
    quant(16, scale=np.float32(2**-10), signed=1, narrow=0),
    quant(1, signed=0, narrow=0),
    quant(4, zero=np.float32(5), signed=0, narrow=0, scale=np.float32(0.2371)),
    quant(4, scale=np.full((1, 1, 1, 1), 0.25, np.float32), signed=1, narrow=0),
    quant(4, scale=per_channel(1, 4, 1, 1), signed=1, narrow=1),
    quant(4, scale=per_channel(3), signed=1, narrow=0),
    *(quant(3, op="IntQuant", domain=d, signed=1, narrow=0, rounding_mode="ROUND") for d in QUANTIZERS),
    *(trunc(version, mode) for version in (1, 2) for mode in ("FLOOR", "CEIL", "ROUND")),
    *(trunc(1, "FLOOR", domain) for domain in QUANTIZERS),
    *(quant(4, domain=domain, signed=1, narrow=0) for domain in QUANTIZERS),
    *(
        case_of(
            f"{domain} BipolarQuant {scale}",
            [helper.make_node("BipolarQuant", ["x", "s"], ["y"], domain=domain)],
            {"s": np.asarray(scale, np.float32)},
        )
        for domain in QUANTIZERS
        for scale in (1.0, 0.3)
    ),
    case_of(
        "BipolarQuant per channel",
        [helper.make_node("BipolarQuant", ["x", "s"], ["y"], domain=GENERAL)],
        {"s": per_channel(1, 4, 1, 1)},
    ),
]


def channels_last(op: str, constants: Mapping[str, Value], **options: Any) -> Case:
    """An operator on (N, H, W, C) images."""
    node = helper.make_node(op, ["x", *constants], ["y"], name="node", domain=CHANNELS_LAST, **options)
    return case_of(f"channels-last {op} {options}", [node], constants, (1, 6, 7, 4))


RNG = np.random.default_rng(2)
STATISTICS = {name: RNG.uniform(0.5, 1.5, 4).astype(np.float32) for name in ("scale", "bias", "mean", "var")}

LAYOUT = [
    channels_last(
        "Conv",
        {"w": RNG.normal(0, 0.3, (6, 3, 2, 2)).astype(np.float32), "b": RNG.normal(0, 1, 6).astype(np.float32)},
        group=2,
        strides=[2, 1],
        pads=[1, 0, 1, 1],
    ),
    channels_last("MaxPool", {}, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    channels_last("AveragePool", {}, kernel_shape=[2, 2]),
    channels_last("BatchNormalization", STATISTICS, epsilon=1e-3),
]


@pytest.mark.parametrize("case", [*ACTIVATIONS, *LAYOUT], ids=str)
def test_agrees_with_the_standard_operators(case: Case) -> None:
    case.check()


@pytest.mark.parametrize("case", LAYOUT, ids=str)
def test_channels_last_needs_no_transpose(case: Case) -> None:
    graph = CanonicalLayout()(import_model(case.model, "m.onnx", "m"))
    assert "Transpose" not in {node.op for node in graph.nodes}


def test_quantized_weights_keep_their_integers() -> None:
    """4-bit weights with a scale for each output channel: 4-bit integers in the graph."""
    weights = RNG.normal(0, 1, (6, 4, 3, 3)).astype(np.float32)
    scale = per_channel(6, 1, 1, 1)
    nodes = [
        helper.make_node("Quant", ["w", "s", "z", "b"], ["wq"], domain=GENERAL, signed=1, narrow=1),
        helper.make_node("Conv", ["x", "wq"], ["y"]),
    ]
    constants: dict[str, Value] = {"w": weights, "s": scale, "z": np.float32(0), "b": np.float32(4)}
    graph = case_of("weights", nodes, constants, (1, 4, 6, 6)).check()
    ((name, element),) = ((n, t.element) for n, t in graph.types.items() if n in graph.constants)
    assert element == Affine(True, 4, tuple(map(float, scale.ravel())), (0,) * 6, 0, narrow=True)
    values = graph.constants[name].values
    assert values.dtype.kind == "i" and values.min() >= -7 and values.max() <= 7


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("ROUND", [6, 2, 2, 1, 1, -1, -1, -2, -2, -6]),
        ("CEIL", [6, 3, 2, 2, 1, -1, -1, -1, -2, -5]),
        ("FLOOR", [5, 2, 1, 1, 1, -1, -2, -2, -3, -6]),
        ("UP", [6, 3, 2, 2, 1, -1, -2, -2, -3, -6]),
        ("DOWN", [5, 2, 1, 1, 1, -1, -1, -1, -2, -5]),
        ("HALF_UP", [6, 3, 2, 1, 1, -1, -1, -2, -3, -6]),
        ("half_down", [5, 2, 2, 1, 1, -1, -1, -2, -2, -5]),
    ],
)
def test_rounding_of_weights(mode: str, expected: list[int]) -> None:
    """The table of the QONNX documentation."""
    values = np.array([5.5, 2.5, 1.6, 1.1, 1.0, -1.0, -1.1, -1.6, -2.5, -5.5], np.float32)
    nodes = [
        helper.make_node("Quant", ["w", "s", "z", "b"], ["wq"], domain=GENERAL, signed=1, rounding_mode=mode),
        helper.make_node("Add", ["x", "wq"], ["y"]),
    ]
    constants: dict[str, Value] = {"w": values, "s": np.float32(1), "z": np.float32(0), "b": np.float32(8)}
    graph = import_model(model_of(nodes, constants, (1, 10)), "m.onnx", "m")
    (weights,) = (constant.values for constant in graph.constants.values())
    assert weights.tolist() == expected


@pytest.mark.parametrize("mode", ["FLOOR", "CEIL", "ROUND"])
@pytest.mark.parametrize("version", [1, 2])
def test_trunc(mode: str, version: int) -> None:
    """Against the formula of the QONNX documentation, on every integer of the input's range."""
    scale, bits_in, bits_out = 0.0625 if mode == "ROUND" else 0.0371, 8, 5
    graph = import_model(trunc_model(bits_in, bits_out, version, mode, scale), "m.onnx", "m")
    integers = np.resize(np.arange(-128, 128), (5, *X))
    feeds = [{"x": (x * np.float32(scale)).astype(np.float32)} for x in integers]
    (ours,) = run_boardfit(graph, feeds)
    rounding = {"FLOOR": np.floor, "CEIL": np.ceil, "ROUND": np.rint}[mode]
    short = rounding(integers / 2 ** (bits_in - bits_out))
    step = scale * 2 ** (bits_in - bits_out)
    expected = np.clip(short, -16, 15) * step if version == 2 else short * scale
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-7)


def test_trunc_with_inexact_ties_is_refused() -> None:
    with pytest.raises(ModelError, match="needs a scale that is a power of two"):
        import_model(trunc_model(8, 5, 1, "ROUND", 0.0371), "m.onnx", "m")


def test_bipolar_of_zero_is_plus() -> None:
    node = helper.make_node("BipolarQuant", ["x", "s"], ["y"], domain=GENERAL)
    graph = import_model(model_of([node], {"s": np.float32(0.5)}, (1, 3)), "m.onnx", "m")
    (ours,) = run_boardfit(graph, [{"x": np.array([[-0.001, 0.0, -0.0]], np.float32)}])
    assert ours.tolist() == [[[-0.5, 0.5, 0.5]]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"b": 3.5}, "the bit width must be one whole number"),
        ({"b": 40.0}, "the bit width must be one whole number"),
        ({"s": -1.0}, "scales must be positive"),
        ({"z": 0.5}, "the zero point must be a whole number"),
        ({"b": 1.0}, "a signed width of 1 bit"),
        ({"rounding_mode": "FLOOR"}, "rounding mode 'FLOOR' of an activation"),
        ({"rounding_mode": "RANDOM"}, "rounding mode 'RANDOM' is not known"),
    ],
)
def test_refused_quantizers(change: dict[str, Any], problem: str) -> None:
    numbers = {"s": 1.0, "z": 0.0, "b": 4.0} | {k: v for k, v in change.items() if k != "rounding_mode"}
    options = {k: v for k, v in change.items() if k == "rounding_mode"}
    node = helper.make_node("Quant", ["x", "s", "z", "b"], ["y"], name="q", domain=GENERAL, signed=1, **options)
    model = model_of([node], {name: np.float32(value) for name, value in numbers.items()})
    with pytest.raises(ModelError, match=f"node 'q' \\(Quant\\): {problem}"):
        import_model(model, "m.onnx", "m")


def test_samples_reach_both_ends() -> None:
    """The inputs used above clip at both ends of a 4-bit range, so that clamping is tested."""
    model = ACTIVATIONS[0].model
    values = np.concatenate([feed["x"].ravel() for feed in samples(model)]) / 0.25
    assert values.min() < -8 and values.max() > 15
