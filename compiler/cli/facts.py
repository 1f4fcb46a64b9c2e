"""`boardfit boards | operators | inspect`: what there is, what can be done, what a model holds."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import JsonOption, ModelArgument, ShapesOption, input_shapes
from .printing import console, print_json, print_tables


def boards(as_json: JsonOption = False) -> None:
    """List the boards: name, kind, part or core, clock, budget."""
    from ..board import shipped_boards
    from ..tables import board_facts, boards_table

    if as_json:
        print_json([board_facts(board) for board in shipped_boards()])
    else:
        console().print(boards_table(shipped_boards()))


def operators(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/operators.md.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the ONNX operators and which backend can do them."""
    from ..support import support_cells, support_page, support_table
    from ..tables import table

    if markdown:
        typer.echo(support_page(), nl=False)
    elif as_json:
        print_json(support_table())
    else:
        console().print(table("", *support_cells(support_table())))


def inspect(model: ModelArgument, input_shape: ShapesOption = None, as_json: JsonOption = False) -> None:
    """Show layers, shapes, parameters, MACs, and what each backend can do with each node."""
    from .. import api
    from ..tables import inspection_tables

    found = api.inspect(model, input_shapes=input_shapes(input_shape))
    if as_json:
        print_json(found)
    else:
        print_tables(inspection_tables(found))
