"""What is measured: Keras, PyTorch as one would write it, pythae, and this package, each behind the same few tasks.

A module has a function for each task that it can do, given a `benchmarks.session.Line` and the task's options.
"""
