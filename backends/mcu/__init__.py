"""C99 firmware for microcontrollers."""
