"""Benchmarks: each figure stands beside a reference that was measured in the same command.

`python -m bench` runs all, `python -m bench call` one. Machines are noisy: read the medians and the ratios.
"""
