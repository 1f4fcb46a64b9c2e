"""What kernels share: requantization parameters as C, folded weights, bounds on accumulators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boardfit.ir import Affine
from boardfit.numerics import Requantization
from boardfit.ops.activation import Activation
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.linear import centred_weights, linear_requantization
from boardfit.ops.pooling import PoolAttrs
from boardfit.plan.overlap import safe_distance, window_distance

from ..axes import WALK_AXES
from ..kernel import Const, Function, Literal, Site, Table
from ..storage import Storage, storage_for

REQUANTIZE = Function("requantize", "requantize.c.j2", code_bytes=0, stack_bytes=0)
REQUANTIZE_WIDE = Function("requantize_wide", "requantize_wide.c.j2", code_bytes=0, stack_bytes=0)
REQUANTIZE_EVEN = Function("requantize_even", "requantize_even.c.j2", code_bytes=0, stack_bytes=0)
CLIP = Function("clip", "clip.c.j2", code_bytes=0, stack_bytes=0)
WALK = Function("walk", "walk.c.j2", {"axes": WALK_AXES}, code_bytes=0, stack_bytes=0)

INT32_MAX = (1 << 31) - 1
HIGH_WORD = 32
REQUANTIZATION_BYTES = 16


def requantizer(requantization: Requantization) -> Function:
    """The inline C function that applies a requantization: the high word alone if the shift allows."""
    if requantization.ties_to_even:
        return REQUANTIZE_EVEN
    narrow = requantization.low >= -(1 << 15) and requantization.high < 1 << 16
    return REQUANTIZE if requantization.shift > HIGH_WORD and narrow else REQUANTIZE_WIDE


def requantization_literal(requantization: Requantization) -> str:
    """C initialiser of the struct that goes with `requantizer`."""
    shift = requantization.shift - (HIGH_WORD if requantizer(requantization) is REQUANTIZE else 0)
    return f"{{{requantization.zero_point}, {requantization.low}, {requantization.high}, {shift}}}"


def suffix(storages: tuple[Storage, ...], requantize: Function | None = None) -> str:
    """End of a function's name: its element types, and `_wide` where 64-bit requantization is used."""
    tags = [storage.tag for storage in storages]
    name = tags[0] if len(set(tags)) == 1 else "_".join(tags)
    return name + ("_wide" if requantize is REQUANTIZE_WIDE else "")


@dataclass(frozen=True, slots=True, eq=False)
class LinearParameters:
    """Integer parameters of a dense or convolution layer.

    Attributes:
        weights: less their zero point, in the smallest C type (the shape of the IR).
        bias: (out,) int32 as in the graph, zeros if there is none.
        folded: (out,) int32 bias less zero_point * sum of weights: for inputs used as stored.
        requantization: one multiplier or one per output.
        zero: zero point of the input.
    """

    weights: np.ndarray
    bias: np.ndarray
    folded: np.ndarray
    requantization: Requantization
    zero: int

    @property
    def storage(self) -> Storage:
        """C type of the weights."""
        return storage_for(self.weights)

    @property
    def multiplier(self) -> np.ndarray:
        """Multipliers as int32."""
        return np.asarray(self.requantization.multiplier, np.int32)

    @property
    def multiplier_step(self) -> int:
        """1 if there is one multiplier per output channel, else 0."""
        return int(len(self.requantization.multiplier) > 1)

    def tables(self, weights: np.ndarray, *, folded: bool = True) -> tuple[Table, ...]:
        """Weights (in the layout the kernel wants), bias and multipliers."""
        note = "bias, the input's zero point folded in" if folded else "bias"
        return (
            Table("weights", weights, f"{'x'.join(map(str, weights.shape))}"),
            Table("bias", self.folded if folded else self.bias, note),
            Table("multiplier", self.multiplier, f"times 2^-{self.requantization.shift}"),
        )


TABLE_ARGUMENTS = (Const("weights"), Const("bias"), Const("multiplier"))


def linear_parameters(site: Site, activation: Activation) -> LinearParameters:
    """Parameters of a dense or convolution node, not to be changed; `linear_refusal` must have given None."""
    return site.once(("linear", activation), lambda: _linear_parameters(site, activation))


def _linear_parameters(site: Site, activation: Activation) -> LinearParameters:
    weights = centred_weights(site.required_constant(1), site.x_affine(1))
    bias = site.constant(2)
    values = np.zeros(len(weights), np.int64) if bias is None else bias.astype(np.int64)
    zero = site.x_affine(0).zero_point[0]
    folded = values - zero * weights.reshape(len(weights), -1).sum(axis=1)
    requantization = linear_requantization(site.x(0), site.x(1), site.y, activation)
    return LinearParameters(
        weights.astype(storage_for(weights).dtype),
        values.astype(np.int32),
        folded.astype(np.int32),
        requantization,
        zero,
    )


def linear_refusal(site: Site) -> str | None:
    """Why an integer matrix product of this node is not possible: weights that are computed, sums beyond 32 bits."""
    if site.constant(1) is None:
        return "its weights are not constant"
    if site.has(2) and site.constant(2) is None:
        return "its bias is not constant"
    weights = centred_weights(site.required_constant(1), site.x_affine(1)).reshape(site.x(1).shape[0], -1)
    bias = site.constant(2)
    start = np.zeros(len(weights), np.int64) if bias is None else np.abs(bias.astype(np.int64))
    x = site.x_affine(0)
    magnitude = np.abs(weights).sum(axis=1)
    stored = max(abs(x.minimum), abs(x.maximum))
    centred = max(abs(x.minimum - x.zero_point[0]), abs(x.maximum - x.zero_point[0]))
    # as stored with the folded bias, and centred with the plain one: both must fit whatever the order of additions
    folded = start + abs(x.zero_point[0]) * magnitude
    if int((folded + stored * magnitude).max(initial=0)) > INT32_MAX or (
        int((start + centred * magnitude).max(initial=0)) > INT32_MAX
    ):
        return "its sums do not fit 32 bits"
    return None


def affine_refusal(site: Site, *indices: int) -> str | None:
    """Why the element types of inputs and output do not suit integer kernels: floats or per-channel activations."""
    types = [site.x(index) for index in indices] + [site.y]
    for tensor_type in types:
        if not isinstance(tensor_type.element, Affine):
            return f"element type {tensor_type.element} where an integer is needed"
        if tensor_type.element.axis is not None:
            return "its activations have a scale per channel"
    return None


def initialisers(**fields: int | str) -> tuple[tuple[str, str], ...]:
    """Members of a record from keyword arguments."""
    return tuple((name, str(value)) for name, value in fields.items())


def literals(*values: int) -> tuple[Literal, ...]:
    """Integer arguments."""
    return tuple(Literal(str(value)) for value in values)


def window_fields(kernel: tuple[int, int], attrs: Conv2DAttrs | PoolAttrs) -> dict[str, int]:
    """Fields of the shape of a kernel that places each window itself."""
    return {
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_y": attrs.strides[0],
        "stride_x": attrs.strides[1],
        "dilation_y": attrs.dilations[0],
        "dilation_x": attrs.dilations[1],
        "top": attrs.pads[0],
        "left": attrs.pads[1],
    }


def window_overlap(
    site: Site, strides: tuple[int, int], pads: tuple[int, int, int, int], *, tile: int = 1, buffered: bool = False
) -> dict[int, int]:
    """`Lowered.overlap` of a kernel that makes one channels-last image in raster order (see `window_distance`)."""
    batch, height, width, channels = site.x().shape
    if batch != 1:
        return {}
    _, rows, columns, outputs = site.y.shape
    sizes = (site.x_storage().bytes, site.y_storage.bytes)
    image, made = (height, width, channels), (rows, columns, outputs)
    return {0: window_distance(image, made, strides, pads, element_bytes=sizes, tile=tile, buffered=buffered)}


def pixel_overlap(site: Site, tile: int, *, buffered: bool = False) -> dict[int, int]:
    """`Lowered.overlap` of a 1x1 convolution that makes `tile` output pixels at a time, regardless of rows.

    `buffered`: a tile's inputs are all read before its first output is written.
    """
    _, height, width, channels = site.x().shape
    pixels, outputs = site.x().shape[0] * height * width, site.y.shape[3]
    first = np.arange(0, pixels, tile)
    written = np.minimum(first + tile, pixels) * outputs * site.y_storage.bytes
    oldest = first * channels * site.x_storage().bytes
    return {0: safe_distance(written, oldest, buffered=buffered)}


def array(values: Sequence[int]) -> str:
    """C initialiser of an array member; an empty one is all zeros."""
    return "{" + ", ".join(map(str, values or (0,))) + "}"
