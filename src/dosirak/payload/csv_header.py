"""The head of a CSV body, looked at before any library reads the rest.

Libraries guess where a table is not plain: pandas makes an index of what is wider than its header
and renames columns that are called the same, and takes a fraction of a millisecond for each column
however few bytes it came in. Here the first lines decide instead.
"""

from __future__ import annotations

import csv
import io
from itertools import islice

from dosirak.payload.columns import MAX_COLUMNS
from dosirak.payload.problems import Problem

# As much of the text as could hold the widest header, and one more line.
_HEAD_CHARACTERS = 1024 * 1024


def check_header(text: str) -> None:
    """Refuse a table with too many columns, two of one name, or a line wider than its header.

    Raises:
        Problem: it is one of these.
    """
    lines = csv.reader(io.StringIO(text[:_HEAD_CHARACTERS], newline=""))
    try:
        head = list(islice((line for line in lines if line), 2))
    except csv.Error as error:
        raise Problem("the body is not CSV that can be read") from error
    if not head:
        return
    names = head[0]
    if max(map(len, head)) > MAX_COLUMNS:
        raise Problem(f"the table has more than {MAX_COLUMNS} columns")
    if len(set(names)) != len(names):
        raise Problem("two columns of the table have the same name")
    if len(head[-1]) > len(names):
        raise Problem("the first line of values is longer than the header")
