"""Figures for one machine: each file is one subject with a `measure()` that yields them.

`make bench` prints a line for each figure of each; `python -m bench import_cost` runs one.
Nothing here is a test: a figure is to be compared with one from the same machine.
"""
