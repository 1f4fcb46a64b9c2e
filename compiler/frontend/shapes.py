"""Shapes of the graph inputs: batch 1, everything else known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ModelError, UsageError

if TYPE_CHECKING:
    from onnx import GraphProto, ValueInfoProto


@dataclass(frozen=True, slots=True)
class ResolvedInputs:
    """Shape of every real input; `old_batch` is a fixed batch size that was replaced by 1, if any."""

    shapes: dict[str, tuple[int, ...]]
    old_batch: int | None


def resolve_inputs(graph: GraphProto, file: str, given: Mapping[str, Sequence[int]]) -> ResolvedInputs:
    """Shapes at batch 1.

    A symbolic first dimension is the batch and becomes 1. A fixed first dimension above 1 is taken as a batch
    if every input and output shares it. Other symbolic dimensions must be given by the user.

    Raises:
        ModelError: a dimension is unknown.
        UsageError: `given` names an unknown input or contradicts the file.
    """
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if not inputs:
        raise ModelError("the model has no inputs", file=file)
    names = [value.name for value in inputs]
    for name in given:
        if name not in names:
            raise UsageError(
                f"--input-shape names '{name}', but the inputs of {file} are: {', '.join(names)}",
                hint=f"write --input-shape {names[0]}=...",
            )
    batch = _common_batch(inputs, list(graph.output)) if not given else None
    shapes: dict[str, tuple[int, ...]] = {}
    for value in inputs:
        declared = _dimensions(value, file)
        shapes[value.name] = _resolve(value.name, declared, given.get(value.name), batch, file)
    return ResolvedInputs(shapes, batch)


def _dimensions(value: ValueInfoProto, file: str) -> list[int | str] | None:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(f"input '{value.name}' is a {kind or 'value of unknown type'}, not a tensor", file=file)
    if not value.type.tensor_type.HasField("shape"):
        return None
    found: list[int | str] = []
    for dimension in value.type.tensor_type.shape.dim:
        known = dimension.HasField("dim_value") and dimension.dim_value > 0
        found.append(int(dimension.dim_value) if known else (dimension.dim_param or "?"))
    return found


def _common_batch(inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> int | None:
    """The fixed first dimension above 1 that all inputs and outputs share, if there is one."""
    found: set[int] = set()
    for value in (*inputs, *outputs):
        dimensions = value.type.tensor_type.shape.dim
        if len(dimensions) < 2 or not dimensions[0].HasField("dim_value"):
            return None
        found.add(int(dimensions[0].dim_value))
    return found.pop() if len(found) == 1 and max(found) > 1 else None


def _resolve(
    name: str, declared: list[int | str] | None, given: Sequence[int] | None, batch: int | None, file: str
) -> tuple[int, ...]:
    if given is not None:
        shape = tuple(int(d) for d in given)
        fits = declared is None or (
            len(declared) == len(shape)
            and all(
                isinstance(d, str) or d == g or i == 0 for i, (d, g) in enumerate(zip(declared, shape, strict=True))
            )
        )
        if not fits or any(d < 1 for d in shape):
            raise UsageError(
                f"--input-shape {name}={','.join(map(str, shape))} contradicts {file}, which declares "
                f"{_text(declared)}",
                hint="give every dimension, the batch included, as positive numbers",
            )
        return shape
    if declared is None:
        raise ModelError(
            f"input '{name}' has no shape",
            file=file,
            hint=f"give it: --input-shape {name}=1,...",
        )
    result: list[int] = []
    for index, dimension in enumerate(declared):
        if index == 0 and (isinstance(dimension, str) or dimension == batch) and len(declared) > 1:
            result.append(1)
        elif isinstance(dimension, str):
            example = ",".join(
                "1" if i == 0 else (str(d) if isinstance(d, int) else "N") for i, d in enumerate(declared)
            )
            raise ModelError(
                f"input '{name}' has a dynamic shape {_text(declared)}: dimension {index} is not known",
                file=file,
                hint=f"give it: --input-shape {name}={example}",
            )
        else:
            result.append(dimension)
    return tuple(result)


def _text(declared: list[int | str] | None) -> str:
    return "no shape" if declared is None else "[" + ", ".join(map(str, declared)) + "]"
