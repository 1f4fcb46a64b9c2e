"""Settings of the cases, chosen on the validation images."""

from __future__ import annotations

from boardfit.train.options import TrainOptions

from .networks import LENET5, LENET300
from .recipe import Recipe, Stage, Target

RECIPES: dict[str, Recipe] = {
    "lenet300": Recipe(
        architecture=LENET300,
        base=TrainOptions(epochs=5, batch=500, learning_rate=2e-3, weight_decay=0.01),
        stages=(Stage(9000, 2, batch=500), Stage(5500, 4, 1.5e-3), Stage(3100, 5, 1.5e-3), Stage(2050, 6, 1.5e-3)),
        targets={
            "160x": Target(1, 16, 1, bias_bits=6, stored="huffman"),
            "300x": Target(2, 16, 2, bias_bits=4, stored="arithmetic"),
            "500x": Target(3, 8, 3, bias_bits=4, stored="arithmetic"),
        },
        copies=5,
        deformation=0.6,
        labels=0.3,
        temperature=2.0,
        compiled=True,
    ),
    "lenet5": Recipe(
        architecture=LENET5,
        base=TrainOptions(epochs=2, batch=128, learning_rate=1.5e-3, weight_decay=0.01),
        stages=(Stage(12000, 2, 1.5e-3), Stage(4500, 3, 1.5e-3)),
        targets={"300x": Target(1, 16, 1, bias_bits=6)},
        copies=3,
        deformation=0.8,
        labels=0.3,
        temperature=2.0,
        compiled=False,
        units={"conv1": 0.5, "conv2": 0.52, "fc1": 0.76},
    ),
}
"""Case name to its recipe."""
