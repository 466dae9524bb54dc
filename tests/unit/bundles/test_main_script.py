"""What travels of a running script: what the service needs, and nothing that works."""

from __future__ import annotations

import pytest

from dosirak.bundles.main_script import dropped_lines, importable_source
from dosirak.errors import InvalidService

SCRIPT = '''"""A script."""
from __future__ import annotations

import os; import sys
import numpy as np

from my_lib import clean


LIMITS = {"a": 1}
LIMITS["b"] = 2


def helper(x: "np.ndarray"):
    return clean(x), LIMITS


raise SystemExit("training") if len(sys.argv) > 99 else None
data = np.zeros(3)  # training data


class Service:
    """What is served."""

    def predict(self, x):
        return helper(x)


svc = Service()
for _ in range(2):
    svc.predict(data)
print("saved",
      svc)
'''


def test_only_what_the_service_needs_is_kept() -> None:
    kept = importable_source(
        SCRIPT.replace("raise SystemExit", "sys.exit").replace(
            'sys.exit("training") if len(sys.argv) > 99 else None', "sys.exit('training')"
        ),
        "Service",
        file_name="train.py",
    )
    scope: dict[str, object] = {"__name__": "train", "clean": None}
    code = kept.replace("from my_lib import clean", "clean = None")
    exec(compile(code, "train.py", "exec"), scope)
    assert {"Service", "helper", "LIMITS", "np"} <= set(scope)
    assert scope["LIMITS"] == {"a": 1, "b": 2}
    assert not {"svc", "data", "sys"} & set(scope)


def test_line_numbers_stay_true() -> None:
    script = "import os\nprint(os)\n\nclass Service:\n    pass\nService()\n"
    kept = importable_source(script, "Service", file_name="train.py")
    assert kept.splitlines() == ["", "", "", "class Service:", "    pass", ""]
    assert dropped_lines(script, kept) == (1, 2, 6)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("x = 1; print(x); y = 2\nclass S: z = y\n", "0; 0; y = 2"),
        ("y = 2; print(y)\nclass S: z = y\n", "y = 2;"),
        ("print('ü'); y = 'ü'\nclass S: z = y\n", "0; y = 'ü'"),
        ("print(1,\n 2); y = 2\nclass S: z = y\n", ""),
    ],
)
def test_statements_on_one_line_are_told_apart(script: str, expected: str) -> None:
    kept = importable_source(script, "S", file_name="train.py")
    assert kept.splitlines()[0] == expected
    compile(kept, "train.py", "exec")


def test_a_guarded_script_travels_as_it_is() -> None:
    script = "class S: pass\nx = 1\nif __name__ == '__main__':\n    print(x)\n"
    assert importable_source(script, "S", file_name="train.py") == script


def test_a_class_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidService, match="does not define 'Missing'"):
        importable_source("x = 1\n", "Missing", file_name="train.py")


def test_a_functions_own_names_and_texts_do_not_bring_training_along() -> None:
    script = (
        "from somewhere import *\n"
        "data = train()\n"
        "model = train()\n"
        "class Service:\n"
        "    names = ['model']\n"
        "    def predict(self, data):\n"
        "        rows = [data for data in data]\n"
        "        return rows\n"
    )
    kept = importable_source(script, "Service", file_name="script.py")
    assert "train" not in kept
    assert "from somewhere import *" in kept


def test_names_read_by_inner_functions_and_comprehensions_travel() -> None:
    script = (
        "scale = 2\n"
        "offset = 1\n"
        "class Service:\n"
        "    def predict(self, x):\n"
        "        def inner():\n"
        "            return [value * scale for value in x if value > offset]\n"
        "        return inner()\n"
    )
    assert importable_source(script, "Service", file_name="script.py") == script
