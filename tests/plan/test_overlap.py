"""Safe overlap of a layer's output with its input, against a byte-by-byte simulation."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.plan.overlap import window_distance


def simulate(
    image: tuple[int, int, int],
    output: tuple[int, int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    tile: int,
    buffered: bool,
    distance: int,
) -> bool:
    """Whether no byte is read after it was overwritten, with the output `distance` bytes below the input."""
    height, width, channels = image
    rows, columns, filters = output
    overwritten: set[int] = set()

    def reads(row: int, column: int) -> set[int]:
        found: set[int] = set()
        for r in range(kernel[0]):
            for c in range(kernel[1]):
                y, x = row * strides[0] - pads[0] + r, column * strides[1] - pads[1] + c
                if 0 <= y < height and 0 <= x < width:
                    start = distance + (y * width + x) * channels
                    found.update(range(start, start + channels))
        return found

    step = tile or columns
    for row in range(rows):
        for first in range(0, columns, step):
            tile_columns = range(first, min(first + step, columns))
            needed = set().union(*(reads(row, column) for column in tile_columns))
            if needed & overwritten:
                return False
            start = (row * columns + first) * filters
            mine = set(range(start, start + len(tile_columns) * filters))
            if not buffered and needed & mine:
                return False
            overwritten |= mine
    return True


@settings(max_examples=300)
@given(st.data())
def test_distance_is_safe_and_at_most_one_unit_too_large(data: st.DataObject) -> None:
    image = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)))
    strides = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    pads = data.draw(st.tuples(*[st.integers(0, 1)] * 4))
    kernel = (
        data.draw(st.integers(1, min(3, image[0] + pads[0] + pads[2]))),
        data.draw(st.integers(1, min(3, image[1] + pads[1] + pads[3]))),
    )
    filters = data.draw(st.integers(1, 4))
    rows = (image[0] + pads[0] + pads[2] - kernel[0]) // strides[0] + 1
    columns = (image[1] + pads[1] + pads[3] - kernel[1]) // strides[1] + 1
    output = (rows, columns, filters)
    tile = data.draw(st.integers(0, 3))
    buffered = data.draw(st.booleans())
    distance = window_distance(image, output, strides, pads, tile=tile, buffered=buffered)
    assert simulate(image, output, kernel, strides, pads, tile, buffered, distance)


def test_known_distances() -> None:
    # a 1x1 convolution with as many outputs as inputs runs in place once a pixel is buffered
    assert window_distance((25, 5, 64), (25, 5, 64), (1, 1), (0, 0, 0, 0), buffered=True) == 0
    assert window_distance((25, 5, 64), (25, 5, 64), (1, 1), (0, 0, 0, 0)) == 64
    # 3x3, stride 1, pads 1: one row, one pixel, and the pixel being written
    assert window_distance((32, 32, 16), (32, 32, 16), (1, 1), (1, 1, 1, 1)) == (32 + 2) * 16
    # doubling the channels needs room for the growth
    assert window_distance((48, 48, 8), (48, 48, 16), (1, 1), (0, 0, 0, 0), buffered=True) == 48 * 48 * 8 - 8
    # a stride-2 convolution shrinks, so that nothing is in the way
    assert window_distance((96, 96, 3), (48, 48, 8), (2, 2), (0, 0, 1, 1)) <= 48 * 8 + 8


def test_the_distance_is_needed() -> None:
    image, output = (6, 6, 2), (6, 6, 2)
    kernel, strides, pads = (3, 3), (1, 1), (1, 1, 1, 1)
    distance = window_distance(image, output, strides, pads)
    assert simulate(image, output, kernel, strides, pads, 1, False, distance)
    assert not simulate(image, output, kernel, strides, pads, 1, False, distance - 2)
