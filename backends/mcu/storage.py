"""How the elements of a tensor are stored on the device: the C type of an element type."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boardfit.errors import InternalError
from boardfit.ir import Affine, ElementType, Float32


@dataclass(frozen=True, slots=True)
class Storage:
    """A C type.

    Attributes:
        c_type: spelling in C99.
        tag: short name in the names of kernel functions, such as 's8'.
        bytes: size of one element.
        dtype: the same type in numpy.
    """

    c_type: str
    tag: str
    bytes: int
    dtype: type[np.generic]


S8 = Storage("int8_t", "s8", 1, np.int8)
U8 = Storage("uint8_t", "u8", 1, np.uint8)
S16 = Storage("int16_t", "s16", 2, np.int16)
U16 = Storage("uint16_t", "u16", 2, np.uint16)
S32 = Storage("int32_t", "s32", 4, np.int32)
U32 = Storage("uint32_t", "u32", 4, np.uint32)
F32 = Storage("float", "f32", 4, np.float32)

STORAGES: tuple[Storage, ...] = (S8, U8, S16, U16, S32, U32, F32)


def storage_of(element: ElementType) -> Storage:
    """The smallest C type that holds an element type.

    Raises:
        InternalError: a fixed-point type, which this backend does not take.
    """
    if isinstance(element, Float32):
        return F32
    if not isinstance(element, Affine):
        raise InternalError(f"no microcontroller storage for {element}")
    signed, unsigned = ((S8, S16, S32), (U8, U16, U32))
    return (signed if element.signed else unsigned)[0 if element.width <= 8 else 1 if element.width <= 16 else 2]


def storage_for(values: np.ndarray) -> Storage:
    """The smallest signed C type (int8_t, int16_t, int32_t) that holds all values.

    Raises:
        InternalError: a value outside 32 bits.
    """
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for storage in (S8, S16, S32):
        limit = 1 << (8 * storage.bytes - 1)
        if -limit <= low and high < limit:
            return storage
    raise InternalError(f"constant values {low} to {high} outside 32 bits")


def dtype_storage(dtype: np.dtype) -> Storage:
    """The C type of a numpy array."""
    for storage in STORAGES:
        if np.dtype(storage.dtype) == dtype:
            return storage
    raise InternalError(f"no C type for {dtype}")
