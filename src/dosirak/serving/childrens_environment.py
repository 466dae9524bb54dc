"""What of a server's environment the processes that it starts are told: all but its credentials.

Workers run the author's code and all that it imports; what opens the server to callers, admins and
its store of tasks is the front's alone. Tokens of services depended on are the workers' to use.
"""

from __future__ import annotations

from collections.abc import Mapping

_OF_THE_FRONT = frozenset(
    {"DOSIRAK_TOKEN", "DOSIRAK_ADMIN_TOKEN", "DOSIRAK_TASK_STORE", "DOSIRAK_WEBHOOK_SECRET"}
)


def childrens_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a process that the front starts."""
    return {name: value for name, value in environment.items() if name not in _OF_THE_FRONT}
