"""Benchmarks: each module is one, run with `python -m bench.<name>`, and ends with one JSON object on stdout.

Speed is told as a ratio against a peer or a floor in the same run. README.md says how to read the numbers and what was
recorded.
"""
