"""Convolution and pooling of the IR in TensorFlow: channels-last, explicit padding, dilation, groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ops.average_pool2d import AveragePool2DAttrs, window_counts
from ..ops.conv2d import Conv2DAttrs
from ..ops.conv_transpose2d import ConvTranspose2DAttrs
from ..ops.max_pool2d import MaxPool2DAttrs
from ..ops.pooling import PoolAttrs
from .runtime import tensorflow

if TYPE_CHECKING:
    from .lowering import Call

Tensor = Any


def _merged(x: Tensor) -> Tensor:
    """(B, N, H, W, C) -> (B * N, H, W, C)."""
    return tensorflow().reshape(x, [-1, *x.shape[2:]])


def _shaped(call: Call, y: Tensor) -> Tensor:
    return tensorflow().reshape(y, [-1, *call.output_type.shape])


def _padded(x: Tensor, pads: tuple[int, int, int, int], value: float = 0.0) -> Tensor:
    top, left, bottom, right = pads
    if not any(pads):
        return x
    return tensorflow().pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]], constant_values=value)


def _strided(x: Tensor, strides: tuple[int, int]) -> Tensor:
    return x if strides == (1, 1) else x[:, :: strides[0], :: strides[1]]


def _sums(x: Tensor, weights: Tensor, attrs: Conv2DAttrs) -> Tensor:
    """Convolution without bias: x (B, H, W, C), weights (out, KH, KW, C / groups).

    TensorFlow takes no stride beside a dilation, and neither unequal strides nor dilations in its depthwise form: such
    a layer is computed at stride 1 and thinned out.
    """
    tf = tensorflow()
    x = _padded(x, attrs.pads)
    out, kh, kw, per_group = weights.shape
    dilated = attrs.dilations != (1, 1)
    depthwise = attrs.groups > 1 and per_group == 1
    thin = dilated or (depthwise and attrs.strides[0] != attrs.strides[1])
    strides = (1, 1) if thin else attrs.strides
    if depthwise:
        kernel = tf.reshape(tf.transpose(weights[..., 0], [1, 2, 0]), [kh, kw, attrs.groups, out // attrs.groups])
        y = tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], "VALID", dilations=list(attrs.dilations))
    else:
        kernel = tf.transpose(weights, [1, 2, 3, 0])
        parts = []
        for part, group in zip(tf.split(x, attrs.groups, 3), tf.split(kernel, attrs.groups, 3), strict=True):
            parts.append(tf.nn.conv2d(part, group, list(strides), "VALID", dilations=list(attrs.dilations)))
        y = parts[0] if len(parts) == 1 else tf.concat(parts, 3)
    return _strided(y, attrs.strides) if thin else y


def _finished(call: Call, y: Tensor, activation: Any) -> Tensor:
    from .lowering import activate

    if call.optional(2) is not None:
        y = y + call.inputs[2][0]
    return activate(_shaped(call, y), activation)


def convolution(call: Call) -> Tensor:
    """Conv2D."""
    attrs = call.attrs(Conv2DAttrs)
    return _finished(call, _sums(_merged(call.inputs[0]), call.inputs[1][0], attrs), attrs.activation)


def transposed_convolution(call: Call) -> Tensor:
    """ConvTranspose2D: zeros between the inputs, then a convolution with the mirrored kernel, then the crop."""
    tf = tensorflow()
    attrs = call.attrs(ConvTranspose2DAttrs)
    x, weights = _merged(call.inputs[0]), call.inputs[1][0]
    sh, sw = attrs.strides
    height, width, channels = x.shape[1:]
    if attrs.strides != (1, 1):
        spread = tf.pad(x[:, :, None, :, None, :], [[0, 0], [0, 0], [0, sh - 1], [0, 0], [0, sw - 1], [0, 0]])
        x = tf.reshape(spread, [-1, height * sh, width * sw, channels])
        x = x[:, : (height - 1) * sh + 1, : (width - 1) * sw + 1]
    reach = [d * (k - 1) for d, k in zip(attrs.dilations, weights.shape[1:3], strict=True)]
    pads = (reach[0], reach[1], reach[0] + attrs.output_padding[0], reach[1] + attrs.output_padding[1])
    full = Conv2DAttrs(pads=pads, dilations=attrs.dilations, groups=attrs.groups)
    y = _sums(x, tf.reverse(weights, [1, 2]), full)
    top, left, bottom, right = attrs.pads
    y = y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]
    return _finished(call, y, attrs.activation)


def _pooled(call: Call, attrs: PoolAttrs, kind: str, fill: float) -> Tensor:
    x = _padded(_merged(call.inputs[0]), attrs.all_pads, fill)
    thin = attrs.dilations != (1, 1)
    y = tensorflow().nn.pool(
        x,
        list(attrs.kernel),
        kind,
        strides=[1, 1] if thin else list(attrs.strides),
        padding="VALID",
        dilations=list(attrs.dilations),
    )
    return _strided(y, attrs.strides) if thin else y


def max_pool(call: Call) -> Tensor:
    """MaxPool2D; pads never win."""
    return _shaped(call, _pooled(call, call.attrs(MaxPool2DAttrs), "MAX", float("-inf")))


def average_pool(call: Call) -> Tensor:
    """AveragePool2D, each window divided by what it counts."""
    attrs = call.attrs(AveragePool2DAttrs)
    kind = call.input_types[0]
    if kind is None:
        raise TypeError(call.node.name)
    sums = _pooled(call, attrs, "AVG", 0.0) * float(attrs.kernel[0] * attrs.kernel[1])
    counts = tensorflow().constant(window_counts(attrs, kind.shape)[:, :, None], "float32")
    return _shaped(call, sums / counts)
