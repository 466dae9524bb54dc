"""One replica's own supervisor, as a process: its lock's descriptor given, its order on stdin.

    order ─▶ prepare the environment ─▶ serve (a child that ends with us) ─▶ how it ended ─▶ exit
                         └──── output ─▶ a thread ─▶ the log, rotated ────┘

It holds the inherited lock for as long as it lives, so whoever looks knows by the lock alone
whether there is a replica. It starts nothing twice: that is the controller's to decide. A disk that
is full or stuck stops neither it nor the replica: what cannot be written is dropped and counted.

Only the standard library, and little of it: there is one of these for each replica.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

from dosirak.targets.kernel_files import children, counted, read_text, started_at, write_text
from dosirak.targets.last_error import last_error, sentence
from dosirak.targets.supervised_log import Log

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 16
# How long a replica has beyond the time for its requests and its stop hooks.
_STOP_GRACE_S = 5.0
# How long what was left behind may take to be gone.
_SWEEP_S = 5.0
# Signals and output wake it; it looks by itself for the file that says stop, and at the clock.
_IDLE_MS = 2000
_STOPPING_MS = 100


class Supervisor:
    """The life of one replica.

    Args:
        order: what to run (see `replica_folder.order_of`).
        log: where its output and the record of it go.
    """

    def __init__(self, order: dict[str, Any], log: Log) -> None:
        self._order = order
        self._log = log
        self._pipe_in, self._pipe_out = os.pipe()
        self._child = 0
        self._status: int | None = None
        self._stop_until_s: float | None = None
        self._stop_asked = self._kill_asked = False
        self._killed = ""
        self._wakeup_in, self._wakeup_out = os.pipe()
        self._record: dict[str, Any] = {
            "version": 1,
            "replica": order["replica"],
            "pid": os.getpid(),
            "started": started_at(os.getpid()),
            "child": 0,
            "child_started": 0,
            "stage": "preparing" if order["prepare"] else "starting",
        }

    def run(self) -> None:
        """Prepare, serve, and write down how it ended."""
        self._listen_to_signals()
        libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._pipe_in, _F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._pipe_in, False)
        self._log.keep(self._record)
        for note in self._order["notes"]:
            self._log.say(note)
        oom_before = self._oom_kills()
        if self._prepared() and not self._is_told_to_stop():
            self._note_stage("starting")
            python, environment = self._python()
            self._run_child([python, *self._order["command"]], environment)
        self._finish(oom_before)

    def _prepared(self) -> bool:
        """Make the environment; whether it is there."""
        if not self._order["prepare"]:
            return True
        self._run_child(self._order["prepare"], self._order["environment"])
        if self._status == 0:
            self._status = None
            return True
        if not self._stop_asked:
            self._record["reason"] = "Its environment could not be made."
        return False

    def _python(self) -> tuple[str, dict[str, str]]:
        """Return the Python to serve with, and the variables for it."""
        chosen = self._order["chosen"] or json.loads(read_text("environment.json"))
        without = self._order["leads_astray"] if chosen["isolated"] else ()
        variables = self._order["environment"].items()
        return chosen["python"], {name: text for name, text in variables if name not in without}

    def _run_child(self, command: list[str], environment: dict[str, str]) -> None:
        """Run a program to its end, its output into the log."""
        self._status = None
        self._child = self._spawn(command, environment)
        self._record["child"] = self._child
        self._record["child_started"] = started_at(self._child)
        self._log.keep(self._record)
        poll = select.poll()
        poll.register(self._pipe_in, select.POLLIN)
        poll.register(self._wakeup_in, select.POLLIN)
        while self._status is None:
            patience_ms = _STOPPING_MS if self._stop_asked else _IDLE_MS
            ready = [descriptor for descriptor, _ in poll.poll(patience_ms)]
            if self._wakeup_in in ready:
                os.read(self._wakeup_in, 512)
            self._pump()
            self._obey()
            self._reap()
        self._pump()

    def _spawn(self, command: list[str], environment: dict[str, str]) -> int:
        parent = os.getpid()
        child = os.fork()
        if child:
            return child
        try:
            self._become(command, environment, parent)
        except BaseException as error:
            os.write(2, f"replica: {command[0]} could not be started: {error}\n".encode())
        os._exit(127)

    def _become(self, command: list[str], environment: dict[str, str], parent: int) -> None:
        """Be the program, in the process that is to be it."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        # It ends with us, and all that it starts with it.
        libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(self._pipe_out, 1)
        os.dup2(self._pipe_out, 2)
        for group in self._order["groups"]:
            if not write_text(f"{group}/cgroup.procs", str(os.getpid())):
                os.write(2, f"replica: it could not be put into {group}.\n".encode())
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(self._order["directory"])
        os.execve(  # noqa: S606 - no shell is meant
            command[0], command, environment
        )

    def _pump(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe_in, _READ_BYTES):
                self._log.write(data)

    def _obey(self) -> None:
        now_s = time.monotonic()
        if self._kill_asked:
            self._kill("It was ended at once, as asked.")
        elif self._is_told_to_stop() and self._stop_until_s is None:
            # Stop hooks have as long again as requests.
            self._stop_until_s = now_s + 2 * self._order["drain_timeout_s"] + _STOP_GRACE_S
            self._signal(signal.SIGTERM)
        elif self._stop_until_s is not None and now_s > self._stop_until_s:
            self._kill("It did not end within its drain timeout.")

    def _is_told_to_stop(self) -> bool:
        # The file tells what a signal could not, before this process was known to anybody.
        self._stop_asked = self._stop_asked or os.path.exists("stop")  # noqa: PTH110
        return self._stop_asked

    def _kill(self, reason: str) -> None:
        self._killed = self._killed or reason
        with contextlib.suppress(OSError):
            os.killpg(self._child, signal.SIGKILL)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.kill(self._child, number)

    def _reap(self) -> None:
        """Note what has ended: the child, and what others left to us."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self._child:
                    self._status = status

    def _finish(self, oom_before: tuple[int, int]) -> None:
        self._sweep()
        self._pump()
        in_group, on_machine = (
            now > before for now, before in zip(self._oom_kills(), oom_before, strict=True)
        )
        status = self._status
        code = os.waitstatus_to_exitcode(status) if status is not None else None
        by_kill = code == -signal.SIGKILL and not self._killed
        oom = by_kill and (in_group or on_machine)
        self._record |= {
            "stage": "ended",
            "exit_code": code,
            "oom": oom,
            "ended_at": time.time(),
            "asked": self._stop_asked or self._kill_asked,
            "reason": self._reason(code, oom=oom),
        }
        self._log.say(self._record["reason"])
        self._log.keep(self._record)
        self._log.close()

    def _reason(self, code: int | None, *, oom: bool) -> str:
        if self._killed:
            return self._killed
        if self._stop_asked and code in (None, 0, -signal.SIGTERM):
            return "It was stopped."
        said = [self._record.get("reason", ""), _how(code, self._log.last_lines(), oom=oom)]
        return sentence(" ".join(said))

    def _sweep(self) -> None:
        """End what the replica left behind."""
        until_s = time.monotonic() + _SWEEP_S
        while time.monotonic() < until_s:
            self._reap()
            left = {*children(), *self._in_groups()}
            if not left:
                return
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _in_groups(self) -> set[int]:
        found: set[int] = set()
        for group in self._order["groups"]:
            found.update(map(int, read_text(f"{group}/cgroup.procs").split()))
        return found

    def _oom_kills(self) -> tuple[int, int]:
        """Return how often the system ended something for its memory: of ours, and at all."""
        own = [counted(f"{group}/{file}") for group in self._order["groups"] for file in _OOM_FILES]
        return sum(own), counted("/proc/vmstat")

    def _note_stage(self, stage: str) -> None:
        self._record["stage"] = stage
        self._log.keep(self._record)

    def _listen_to_signals(self) -> None:
        os.set_blocking(self._wakeup_out, False)
        signal.set_wakeup_fd(self._wakeup_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        signal.signal(signal.SIGQUIT, self._ask_to_kill)

    def _ask_to_stop(self, _number: int, _frame: object) -> None:
        self._stop_asked = True

    def _ask_to_kill(self, _number: int, _frame: object) -> None:
        self._kill_asked = True


_OOM_FILES = ("memory.oom_control", "memory.events")


def _how(code: int | None, output: str, *, oom: bool) -> str:
    """Say in a sentence how something ended that nobody had told to."""
    if oom:
        return "It was ended by the system for its memory."
    if code is None:
        return "It was never started."
    if code < 0:
        return f"It was ended by {signal_name(-code)}."
    return last_error(output) or f"Its exit code was {code}."


def libc() -> Any:
    """Return the C library; without `prctl` there is nothing to ask it for."""
    return ctypes.CDLL(None)


def signal_name(number: int) -> str:
    """Return a signal's name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main(arguments: list[str]) -> int:
    """Supervise one replica; the working directory is its folder."""
    os.set_inheritable(int(arguments[0]), False)
    try:
        order = json.loads(sys.stdin.buffer.read())
    except ValueError:
        return 1  # Whoever gave it ended before all of it was said.
    log = Log(order["log"], "process.json", order["log_bytes"], order["log_parts"])
    Supervisor(order, log).run()
    return 0
