"""Benchmarks: each folder has a command that prints a table and writes one file in results/."""
