"""Which reuse factors hls4ml accepts for a matrix product and which one it takes instead of another."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def legal_reuse_factors(n_in: int, n_out: int) -> tuple[int, ...]:
    """Reuse factors, ascending, that the Resource dense kernel computes correctly for n_in x n_out products.

    A factor divides the number of products; up to n_in every multiplier must serve whole outputs, above n_in it
    must be a multiple of n_in (hls4ml 1.3.0, backends/fpga, rule of its legality check).
    """
    total = n_in * n_out
    small = [d for d in range(1, int(total**0.5) + 1) if total % d == 0]
    divisors = sorted({*small, *(total // d for d in small)})
    return tuple(d for d in divisors if (d >= n_in or -(-total // d) % n_out == 0) and (d < n_in or d % n_in == 0))


def nearest_reuse_factor(n_in: int, n_out: int, wanted: int) -> int:
    """The legal factor nearest to `wanted`, the smaller of two equally near ones (as hls4ml chooses)."""
    return min(legal_reuse_factors(n_in, n_out), key=lambda factor: (abs(factor - wanted), factor))


def serial_lanes(n_in: int, n_out: int, reuse_factor: int) -> int:
    """Multipliers of a dense layer that makes one output after the other, or 0 where that is not possible.

    Its inputs go round in a ring, so the multipliers must divide them; at a reuse factor up to n_in several outputs
    are made at once.
    """
    lanes, rest = divmod(n_in * n_out, reuse_factor)
    return lanes if reuse_factor > n_in and not rest and n_in % lanes == 0 else 0


def serial_filters(channels: int, filters: int, reuse_factor: int) -> int:
    """Filters side by side of a convolution that makes one channel of its window after the other, or 0.

    All taps of the window are multiplied at once, so the reuse factor is channels * filters / (filters side by side).
    """
    together, rest = divmod(channels * filters, reuse_factor)
    return together if reuse_factor > 1 and not rest and together and filters % together == 0 else 0
