"""Measurements of this project; each prints what it found and keeps it in ``benchmarks/results``."""
