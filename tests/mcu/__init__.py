"""Tests of the microcontroller backend."""
