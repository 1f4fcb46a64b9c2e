"""From a plan to the C sources: interface, run function, kernels, weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from boardfit.board import McuBoard
from boardfit.errors import InternalError
from boardfit.ir import Affine
from boardfit.names import c_identifier

from .kernel import Argument, Const, FunctionPointer, Input, Literal, Output, Scratch
from .placement import ALIGNMENT, Layer
from .plan import Plan
from .render import (
    array_definition,
    call_statement,
    comment_text,
    float_literal,
    function_text,
    record_definition,
    render,
)
from .storage import storage_of


@dataclass(frozen=True, slots=True)
class Names:
    """Identifiers of a firmware.

    Attributes:
        prefix: of every external name and file.
        layers: node name -> stem of the layer's constants and tensor.
        tensors: tensor -> C expression of the pointer to it.
        owners: (node name, stem) of a table -> of the table that is stored for it.
    """

    prefix: str
    layers: Mapping[str, str]
    tensors: Mapping[str, str]
    owners: Mapping[tuple[str, str], tuple[str, str]]


def core_files(plan: Plan, board: McuBoard, prefix: str, *, single_header: bool) -> dict[str, str]:
    """The sources a user's project needs: file name -> text."""
    names = _names(plan, prefix)
    context = {
        **interface_context(plan, board, prefix),
        "functions": [function_text(function) for function in plan.functions if function.template],
        "headers": sorted({header for function in plan.functions for header in function.headers}),
        "tables": _tables(plan, names),
        "total": f"{sum(layer.lowered.constant_bytes for layer in plan.layers):,}",
        "records": _records(plan, names),
        "statements": _statements(plan, names),
        "calls": any(layer.lowered.calls for layer in plan.layers),
        "source_file": f"{prefix}.c" if not single_header else "the implementation",
    }
    interface = render("core/model.h.j2", context)
    if single_header:
        single = render("core/single_header.h.j2", {**context, "interface": interface})
        return {f"{prefix}.h": single, f"{prefix}.hpp": render("core/model.hpp.j2", context)}
    return {
        f"{prefix}.h": interface,
        f"{prefix}.hpp": render("core/model.hpp.j2", context),
        f"{prefix}.c": render("core/model.c.j2", context),
        f"{prefix}_kernels.h": render("core/model_kernels.h.j2", context),
        f"{prefix}_weights.h": render("core/model_weights.h.j2", context),
        f"{prefix}_weights.c": render("core/model_weights.c.j2", context),
    }


def boardfit_version() -> str:
    """Version of this package, for comments."""
    try:
        return version("boardfit")
    except PackageNotFoundError:
        return "(not installed)"


def _names(plan: Plan, prefix: str) -> Names:
    taken: set[str] = {"arena", "context", "static_arena", prefix, *(f.name for f in plan.functions)}
    layers: dict[str, str] = {}
    for index, layer in enumerate(plan.layers, 1):
        stem = c_identifier(f"{layer.node.op}_{index}", taken)
        taken.add(stem)
        layers[layer.node.name] = stem
    tensors: dict[str, str] = {}
    for name in plan.graph.inputs:
        tensors[name] = _cast(plan, name, const=True)
    return Names(prefix, layers, tensors, plan.table_owners)


def _cast(plan: Plan, tensor: str, offset: int = 0, *, const: bool) -> str:
    """Pointer to a tensor in the arena.

    The arena's address is read from the context at every use: compilers keep sums of it that several calls need on the
    stack, 100 bytes and more where a layer is computed in strips.
    """
    storage = storage_of(plan.graph.types[tensor].element)
    place = f"context->arena + {plan.places[tensor] + offset * storage.bytes}"
    return f"({'const ' if const else ''}{storage.c_type} *)" + (
        f"({place})" if storage.bytes == 1 else f"(void *)({place})"
    )


def _table_name(names: Names, layer: Layer, stem: str) -> str:
    node, stem = names.owners[layer.node.name, stem]
    return f"{names.prefix}_{names.layers[node]}_{stem}"


def _constant_name(names: Names, tensor: str, plan: Plan) -> str:
    """Name of a constant tensor that a layer reads as an operand."""
    operands = _operands(plan)
    return f"{names.prefix}_constant_{operands.index(tensor) + 1}"


def _operands(plan: Plan) -> list[str]:
    """Constant tensors that kernels read as tensors (not laid out by a kernel), and constant outputs."""
    found: dict[str, None] = {}
    graph = plan.graph
    for layer in plan.layers:
        for call in layer.lowered.calls:
            for argument in call.arguments:
                if isinstance(argument, Input) and layer.node.inputs[argument.index] in graph.constants:
                    found[layer.node.inputs[argument.index]] = None
    found.update(dict.fromkeys(name for name in graph.outputs if name in graph.constants))
    return list(found)


def operand_sizes(plan: Plan) -> list[int]:
    """Bytes of each constant operand."""
    graph = plan.graph
    return [graph.types[name].elements * storage_of(graph.types[name].element).bytes for name in _operands(plan)]


def _tables(plan: Plan, names: Names) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for layer in plan.layers:
        for table in layer.lowered.tables:
            if names.owners[layer.node.name, table.stem] != (layer.node.name, table.stem):
                continue
            declaration = f"const {table.storage.c_type} {_table_name(names, layer, table.stem)}[{table.values.size}]"
            comment = f"{layer.node.source.op_type} '{layer.node.source.node}': {table.comment or table.stem}"
            found.append(
                {
                    "declaration": declaration,
                    "definition": array_definition(declaration, table.values),
                    "comment": comment_text(comment),
                }
            )
    for tensor in _operands(plan):
        storage = storage_of(plan.graph.types[tensor].element)
        values = plan.graph.constants[tensor].values.astype(storage.dtype)
        declaration = f"const {storage.c_type} {_constant_name(names, tensor, plan)}[{values.size}]"
        found.append(
            {
                "declaration": declaration,
                "definition": array_definition(declaration, values),
                "comment": comment_text(f"constant '{tensor}'"),
            }
        )
    return found


def _records(plan: Plan, names: Names) -> list[str]:
    return [
        record_definition(f"{names.layers[layer.node.name]}_{record.stem}", record)
        for layer in plan.layers
        for record in layer.lowered.records
    ]


def _shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) if shape else "scalar"


def _statements(plan: Plan, names: Names) -> list[str]:
    lines: list[str] = []
    for layer in plan.layers:
        graph, node = plan.graph, layer.node
        inputs = ", ".join(_shape_text(graph.types[name].shape) for name in node.inputs if name)
        output = _shape_text(graph.types[node.outputs[0]].shape)
        note = f"; {layer.lowered.note}" if layer.lowered.note else ""
        text = f"{node.source.op_type} '{node.source.node}': {inputs} -> {output}; {layer.kernel.name}{note}"
        lines.append("")
        lines.append(f"    /* {comment_text(text)} */")
        for call in layer.lowered.calls:
            arguments = [_argument(plan, names, layer, argument) for argument in call.arguments]
            lines.append(call_statement(call.function.name, arguments))
    return lines


def _argument(plan: Plan, names: Names, layer: Layer, argument: Argument) -> str:
    node = layer.node
    if isinstance(argument, Literal):
        return argument.text
    if isinstance(argument, FunctionPointer):
        return argument.function.name
    if isinstance(argument, Scratch):
        place = f"context->arena + {plan.scratch[node.name] + argument.offset}"
        if argument.c_type in ("int8_t", "uint8_t", "void"):
            return f"({argument.c_type} *)({place})"
        return f"({argument.c_type} *)(void *)({place})"
    if isinstance(argument, Const):
        plus = f" + {argument.offset}" if argument.offset else ""
        if any(table.stem == argument.stem for table in layer.lowered.tables):
            return _table_name(names, layer, argument.stem) + plus
        if any(record.stem == argument.stem for record in layer.lowered.records):
            return f"&{names.layers[node.name]}_{argument.stem}"
        raise InternalError(f"'{node.name}' has no constant '{argument.stem}'")
    if isinstance(argument, Output):
        return _cast(plan, node.outputs[argument.index], argument.offset, const=False)
    tensor = node.inputs[argument.index]
    if tensor in plan.graph.constants:
        plus = f" + {argument.offset}" if argument.offset else ""
        return _constant_name(names, tensor, plan) + plus
    return _cast(plan, tensor, argument.offset, const=True)


def _ports(plan: Plan, prefix: str, names: Names) -> list[dict[str, object]]:
    """Template variables of every input and output of the graph."""
    graph = plan.graph
    taken: set[str] = {f"{prefix}_{word}" for word in ("init", "run", "context", "h", "aligned")}
    ports: list[dict[str, object]] = []
    for role, tensors in (("Input", graph.inputs), ("Output", graph.outputs)):
        for tensor in tensors:
            stem = role.lower()
            if len(tensors) > 1:
                stem = f"{stem}_{c_identifier(graph.labels.get(tensor, tensor))}"
            function = f"{prefix}_{c_identifier(stem, (t.removeprefix(prefix + '_') for t in taken))}"
            taken.add(function)
            ports.append(_port(plan, names, role, tensor, function))
    return ports


def _port(plan: Plan, names: Names, role: str, tensor: str, function: str) -> dict[str, object]:
    graph = plan.graph
    tensor_type = graph.types[tensor]
    storage = storage_of(tensor_type.element)
    constant = tensor in graph.constants
    expression = _constant_name(names, tensor, plan) if constant else ""
    if not constant:
        expression = _cast(plan, tensor, const=role == "Output")
    element = tensor_type.element
    port: dict[str, object] = {
        "tensor": tensor,
        "role": role,
        "label": comment_text(graph.labels.get(tensor, tensor)),
        "text": f"{storage.c_type}, {_shape_text(tensor_type.shape)}",
        "MACRO": function.upper(),
        "function": function,
        "short": function.removeprefix(f"{names.prefix}_"),
        "type_name": function.removeprefix(f"{names.prefix}_").capitalize(),
        "c_type": storage.c_type,
        "pointer": f"{'const ' if role == 'Output' else ''}{storage.c_type} *",
        "elements": tensor_type.elements,
        "rank": tensor_type.rank,
        "sizes": tensor_type.shape,
        "shape": "{" + ", ".join(map(str, tensor_type.shape)) + "}",
        "constant": constant,
        "expression": expression,
        "integer": isinstance(element, Affine),
        "real": isinstance(element, Affine) and element.width <= 16,
    }
    if isinstance(element, Affine):
        port |= _affine_port(element)
    return port


def _affine_port(element: Affine) -> dict[str, object]:
    zero = element.zero_point[0]
    return {
        "scale": float_literal(element.scale[0]),
        "zero_point": zero,
        "minimum": element.minimum,
        "maximum": element.maximum,
        "low": float_literal(element.minimum - zero),
        "high": float_literal(element.maximum - zero),
    }


def port_facts(plan: Plan, prefix: str) -> list[dict[str, object]]:
    """Template variables of every input and output, inputs first."""
    return _ports(plan, prefix, _names(plan, prefix))


def interface_context(plan: Plan, board: McuBoard, prefix: str) -> dict[str, object]:
    """Template variables of everything a user of the sources sees."""
    graph = plan.graph
    ports = port_facts(plan, prefix)
    inputs = [port for port in ports if port["role"] == "Input"]
    outputs = [port for port in ports if port["role"] == "Output"]
    return {
        "title": comment_text(graph.name),
        "version": boardfit_version(),
        "board": comment_text(board.title),
        "prefix": prefix,
        "PREFIX": prefix.upper(),
        "arena_bytes": plan.arena.bytes or 1,
        "alignment": ALIGNMENT,
        "ports": ports,
        "quantized_inputs": [port for port in inputs if port["real"]],
        "quantized_outputs": [port for port in outputs if port["real"]],
        "usage": [
            f'#include "{prefix}.h"',
            "",
            f"static uint8_t arena[{prefix.upper()}_ARENA_BYTES] {prefix.upper()}_ALIGNED;",
            f"{prefix}_context context;",
            "",
            f"{prefix}_init(&context, arena);",
            *(_usage(port) for port in inputs),
            f"{prefix}_run(&context);",
            *(_usage(port) for port in outputs),
        ],
        "memory": f"The arena has {plan.arena.bytes:,} bytes; no arrangement of these layers can do with less than "
        f"{plan.arena.lower_bound:,}.",
    }


def _usage(port: Mapping[str, object]) -> str:
    function, c_type, short = port["function"], port["c_type"], port["short"]
    if port["role"] == "Input":
        fill = f"{function}_quantize(real_value)" if port["real"] else "..."
        return f"{c_type} *{short} = {function}(&context);   // {short}[i] = {fill}, i < {port['elements']}"
    return f"const {c_type} *{short} = {function}(&context);   // {port['elements']} values"
