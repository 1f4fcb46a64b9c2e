"""Instruction-set features a kernel may ask for, and their consequences."""

from __future__ import annotations

from collections.abc import Mapping

FEATURES: Mapping[str, str] = {
    "thumb": "Thumb instruction set (Armv6-M and later)",
    "riscv": "RISC-V instruction set RV32I: 31 registers",
    "multiply": "32 x 32 -> 32 bit multiplication in hardware (MUL)",
    "long-multiply": "32 x 32 -> 64 bit multiplication in hardware (SMULL; RISC-V: MUL with MULH)",
    "divide": "integer division in hardware (SDIV, UDIV)",
    "saturate": "saturation to a bit position (SSAT, USAT)",
    "dsp": "Armv7E-M or Armv8-M DSP extension: SMLAD, SXTB16, SMMLA, PKHBT",
    "fpu": "IEEE 754 binary32 in hardware",
    "fpu-double": "IEEE 754 binary64 in hardware",
    "mve": "Helium: integer M-profile vector extension",
    "mve-float": "Helium: floating-point M-profile vector extension",
    "unaligned": "loads and stores at any address",
}
"""Feature -> what it means. Board files may name only these (board_schema.json lists them too)."""
