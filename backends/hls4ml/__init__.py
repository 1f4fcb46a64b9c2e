"""Vivado HLS and Vitis HLS projects through hls4ml."""

from __future__ import annotations

from .backend import Hls4mlBackend

BACKEND = Hls4mlBackend()

__all__ = ["BACKEND", "Hls4mlBackend"]
