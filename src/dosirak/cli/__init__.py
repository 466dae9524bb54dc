"""The door: parse → call → render.

One file per noun, imported when its command runs; `app` holds the table of them. `render` is the
only file that prints tables and progress, `failure` the only one that turns errors into exit codes.
"""

from __future__ import annotations

from dosirak.cli.failure import main

__all__ = ["main"]
