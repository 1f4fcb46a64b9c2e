"""Microcontroller backend: C99 firmware from an integer graph."""

from .backend import BACKEND

__all__ = ["BACKEND"]
