"""The ops of the IR, each declared once in its own file."""

from __future__ import annotations

from .absolute import ABS
from .add import ADD
from .arg_max import ARG_MAX
from .average_pool2d import AVERAGE_POOL2D
from .bipolar import BIPOLAR
from .clamp import CLAMP
from .concat import CONCAT
from .conv2d import CONV2D
from .conv_transpose2d import CONV_TRANSPOSE2D
from .dense import DENSE
from .div import DIV
from .elu import ELU
from .erf import ERF
from .exp import EXP
from .gather import GATHER
from .hard_sigmoid import HARD_SIGMOID
from .hard_swish import HARD_SWISH
from .leaky_relu import LEAKY_RELU
from .log import LOG
from .lookup import LOOKUP
from .matmul import MATMUL
from .max_pool2d import MAX_POOL2D
from .min_max import MAX, MIN
from .mul import MUL
from .pad import PAD
from .prelu import PRELU
from .quantize import DEQUANTIZE, QUANTIZE
from .reduce_mean import REDUCE_MEAN
from .requantize import REQUANTIZE
from .reshape import RESHAPE
from .resize import RESIZE
from .scale_bias import SCALE_BIAS
from .selu import SELU
from .sigmoid import SIGMOID
from .slice import SLICE
from .softmax import SOFTMAX
from .softplus import SOFTPLUS
from .softsign import SOFTSIGN
from .spec import OpSpec
from .sqrt import SQRT
from .sub import SUB
from .tanh import TANH
from .transpose import TRANSPOSE

ALL: tuple[OpSpec, ...] = (
    ABS,
    ADD,
    ARG_MAX,
    AVERAGE_POOL2D,
    BIPOLAR,
    CLAMP,
    CONCAT,
    CONV2D,
    CONV_TRANSPOSE2D,
    DENSE,
    DEQUANTIZE,
    DIV,
    ELU,
    ERF,
    EXP,
    GATHER,
    HARD_SIGMOID,
    HARD_SWISH,
    LEAKY_RELU,
    LOG,
    LOOKUP,
    MATMUL,
    MAX,
    MAX_POOL2D,
    MIN,
    MUL,
    PAD,
    PRELU,
    QUANTIZE,
    REDUCE_MEAN,
    REQUANTIZE,
    RESHAPE,
    RESIZE,
    SCALE_BIAS,
    SELU,
    SIGMOID,
    SLICE,
    SOFTMAX,
    SOFTPLUS,
    SOFTSIGN,
    SQRT,
    SUB,
    TANH,
    TRANSPOSE,
)

OPS: dict[str, OpSpec] = {spec.name: spec for spec in ALL}
"""Every op by name."""
