"""`boardfit compress | recipes | fit`: smaller networks, and what they cost in accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .groups import with_option_groups
from .options import (
    BoardOption,
    DesignGroup,
    JsonOption,
    ModelArgument,
    NetworkGroup,
    ShapesOption,
    api_options,
    input_shapes,
)
from .printing import print_json, print_tables


def compress(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            help="Name of a recipe ('boardfit recipes') or a recipe file.",
            show_default="int4; distil or distil-hints with --student",
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            "--student",
            metavar="FILE|auto[:WIDTH[xDEPTH]]",
            help="Smaller network that learns to answer like the model: an ONNX file, or cut out of the model.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher", help="Network to imitate in place of the model; repeatable: an ensemble.", show_default=False
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", "-c", help="A few hundred inputs, .npz or .npy, no labels.", show_default=False),
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option("--train", help="Data to train on: .npz, labels 'y' optional.", show_default=False),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option("--board", "-b", help="Report bytes and cycles of every layer there.", show_default=False),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            metavar="POINTS",
            help="Take the strongest setting that loses at most so much accuracy (agreement, without labels).",
            show_default=False,
        ),
    ] = None,
    min_snr: Annotated[
        float | None,
        typer.Option("--min-snr", metavar="DB", help="The same for networks that do not classify.", show_default=False),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option("--checkpoints", help="Folder an interrupted training goes on from.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    input_shape: ShapesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compress a model by a recipe into an ONNX file that 'boardfit compile' takes, with a report."""
    from ..recipe import compress_model
    from ..tables import compression_tables

    made = compress_model(
        model,
        recipe,
        student=student,
        teachers=teacher or (),
        calibration=calibration,
        train=train,
        board=board,
        max_drop=max_drop,
        min_snr=min_snr,
        input_shapes=input_shapes(input_shape),
        output=output,
        checkpoints=checkpoints,
        seed=seed,
        progress=not as_json,
    )
    if as_json:
        print_json({"folder": str(output), "fidelity": made.fidelity, "layers": made.layers})
    else:
        print_tables(compression_tables(made))


def recipes(as_json: JsonOption = False) -> None:
    """List the recipes."""
    from ..recipe import find_recipe, recipe_names
    from ..tables import recipes_table

    found = [find_recipe(name) for name in recipe_names()]
    if as_json:
        print_json(found)
    else:
        print_tables([recipes_table(found)])


@with_option_groups
def fit(
    *,
    model: ModelArgument,
    board: BoardOption,
    network: NetworkGroup,
    design: DesignGroup,
    points: Annotated[int, typer.Option("--points", min=2, max=50, help="Microcontroller: budgets to solve for.")] = 8,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curve: .png, .svg or .pdf.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a design costs at which loss: the best weights (microcontroller) or widths (FPGA) for each budget."""
    from .. import api
    from ..solver.width_curve import WidthCurve
    from ..tables import curve_tables, width_curve_tables

    found = api.fit(model, board, points=points, plot=plot, **api_options(network, design))
    if as_json:
        print_json(found)
    elif isinstance(found, WidthCurve):
        print_tables(width_curve_tables(found))
    else:
        print_tables(curve_tables(found))
