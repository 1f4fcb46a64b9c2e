"""Measured cost of generated microcontroller code, beside the published and measured figures of other tools."""
