"""Figures for one machine: each file is one subject with a `measure()` that yields them.

`make bench` runs them all and prints a line for each figure; `python -m bench import_cost` runs one.
Nothing here is a test: a figure is to be compared with one from the same machine.
"""
