"""Serve a target as a process of its own: `launch.py OPTIONS`, a JSON object for `serve`.

Each report is one JSON line on standard output; an error is its code, and its exit code.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import msgspec

from dosirak.errors import DosirakError
from dosirak.observe.inference_log import InferenceLogPlan
from dosirak.serving.serve import serve
from dosirak.serving.task_plan import TaskPlan


def main() -> int:
    def report(event: object) -> None:
        values = {"event": type(event).__name__, **dataclasses.asdict(event)}
        print(json.dumps(values), flush=True)

    try:
        options = json.loads(sys.argv[1])
        for name in ("unix_socket", "access_file"):
            if name in options:
                options[name] = Path(options[name])
        kept = options.pop("inference_log", None)
        plan = msgspec.convert(kept, InferenceLogPlan) if kept else None
        tasks = msgspec.convert(options.pop("tasks", {}), TaskPlan)
        return serve(**options, inference_log=plan, tasks=tasks, report=report)
    except DosirakError as error:
        print(json.dumps({"event": "Error", "code": error.code, "message": str(error)}), flush=True)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
