"""One replica's own supervisor: `python -I -S replica_supervisor.py LOCK`, its order on stdin.

    order ─▶ prepare the environment ─▶ serve (a child that ends with us) ─▶ how it ended ─▶ exit
                         └──── output ─▶ a thread ─▶ the log, rotated ────┘

It holds the inherited lock for as long as it lives, so whoever looks knows by the lock alone
whether there is a replica. It starts nothing twice: that is the controller's to decide. A disk that
is full or stuck stops neither it nor the replica: what cannot be written is dropped and counted.

Only the standard library, and little of it: there is one of these for each replica. It runs as a
script, outside of any environment, so it can import nothing of dosirak.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import threading
import time
from collections import deque
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_F_SETPIPE_SZ = 1031
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 16
# Output that waits for the disk; what comes beyond is dropped.
_MOST_WAITING_BYTES = 1 << 20
_TAIL_BYTES = 4096
_TAIL_LINES = 12
# How long a replica has after its drain timeout: for its stop hooks and goodbyes.
_STOP_GRACE_S = 5.0
# How long what was left behind may take to be gone, and the last output to be written.
_SWEEP_S = 5.0
_FLUSH_S = 5.0
_RETRY_S = 1.0
_POLL_MS = 500


class Log:
    """A file that is rotated by size, and a record that is replaced; both written by a thread.

    Args:
        path: the log; older parts are `PATH.1`, `PATH.2`, ….
        record_path: the record.
        size_bytes: at which another part begins.
        parts: how many older ones are kept.
    """

    def __init__(self, path: str, record_path: str, size_bytes: int, parts: int) -> None:
        self._path, self._record_path = path, record_path
        self._size_bytes, self._parts = size_bytes, parts
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._record: dict[str, Any] | None = None
        self._change = threading.Condition()
        self._closing = False
        self._file = -1
        self._tail = b""
        self.dropped_bytes = 0
        self._told_dropped_bytes = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Take output; never waits."""
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        with self._change:
            if self._waiting_bytes + len(data) > _MOST_WAITING_BYTES:
                self.dropped_bytes += len(data)
                return
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            self._change.notify()

    def say(self, sentence: str) -> None:
        """Write a line of our own."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.write(f"{moment} replica: {sentence}\n".encode())

    def keep(self, record: dict[str, Any]) -> None:
        """Replace the record; never waits."""
        with self._change:
            self._record = dict(record)
            self._change.notify()

    def last_lines(self) -> str:
        """Return the end of the output."""
        lines = self._tail.decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def close(self) -> None:
        """Write what waits, if the disk takes it in time."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(_FLUSH_S)

    def _run(self) -> None:
        while True:
            with self._change:
                while not (self._waiting or self._record or self._closing):
                    self._change.wait()
                pieces, record = list(self._waiting), self._record
                self._waiting.clear()
                self._record = None
                if self._closing and not pieces and record is None:
                    return
            kept = record is None or self._replace_record(record)
            written = self._append(b"".join(pieces)) if pieces else True
            with self._change:
                self._waiting_bytes -= sum(map(len, pieces))
                if not kept and self._record is None:
                    self._record = record
                if not (kept and written):
                    if self._closing:
                        return
                    self._change.wait(_RETRY_S)

    def _append(self, data: bytes) -> bool:
        lost = self.dropped_bytes - self._told_dropped_bytes
        if lost:
            data = f"replica: {lost} bytes of output were dropped here.\n".encode() + data
        try:
            if self._file < 0:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
            if os.fstat(self._file).st_size + len(data) > self._size_bytes:
                self._rotate()
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self.dropped_bytes += len(data)
            self._forget_file()
            return False
        self._told_dropped_bytes += lost
        return True

    def _rotate(self) -> None:
        if not os.fstat(self._file).st_size:
            return
        for number in range(self._parts, 0, -1):
            older = f"{self._path}.{number - 1}" if number > 1 else self._path
            with contextlib.suppress(OSError):
                os.rename(older, f"{self._path}.{number}")  # noqa: PTH104 - pathlib costs memory
        self._forget_file()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)

    def _forget_file(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _replace_record(self, record: dict[str, Any]) -> bool:
        record["dropped_bytes"] = self.dropped_bytes
        try:
            replace_file(self._record_path, record)
        except OSError:
            return False
        return True


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
            "stage": "preparing",
        }

    def run(self) -> None:
        """Prepare, serve, and write down how it ended."""
        self._listen_to_signals()
        libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        with contextlib.suppress(OSError):
            fcntl_pipe_size(self._pipe_in)
        os.set_blocking(self._pipe_in, False)
        self._log.keep(self._record)
        for note in self._order["notes"]:
            self._log.say(note)
        oom_before = self._oom_kills()
        if self._prepared() and not self._is_told_to_stop():
            self._note_stage("starting")
            self._run_child([self._python(), *self._order["command"]])
        self._finish(oom_before)

    def _prepared(self) -> bool:
        """Make the environment; whether it is there."""
        if not self._order["prepare"]:
            return True
        self._run_child(self._order["prepare"])
        if self._status == 0:
            self._status = None
            return True
        if not self._stop_asked:
            self._record["reason"] = "Its environment could not be made."
        return False

    def _python(self) -> str:
        if self._order["python"]:
            return str(self._order["python"])
        with open("environment.json", encoding="utf-8") as file:  # noqa: PTH123
            return str(json.load(file)["python"])

    def _run_child(self, command: list[str]) -> None:
        """Run a program to its end, its output into the log."""
        self._status = None
        self._child = self._spawn(command)
        self._record["child"] = self._child
        self._record["child_started"] = started_at(self._child)
        self._log.keep(self._record)
        poll = select.poll()
        poll.register(self._pipe_in, select.POLLIN)
        poll.register(self._wakeup_in, select.POLLIN)
        while self._status is None:
            ready = [descriptor for descriptor, _ in poll.poll(_POLL_MS)]
            if self._wakeup_in in ready:
                os.read(self._wakeup_in, 512)
            self._pump()
            self._obey()
            self._reap()
        self._pump()

    def _spawn(self, command: list[str]) -> int:
        parent = os.getpid()
        child = os.fork()
        if child:
            return child
        try:
            self._become(command, parent)
        except BaseException as error:  # noqa: BLE001 - nothing may run on in the fork
            os.write(2, f"replica: {command[0]} could not be started: {error}\n".encode())
        os._exit(127)

    def _become(self, command: list[str], parent: int) -> None:
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
            write_text(f"{group}/cgroup.procs", str(os.getpid()))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(self._order["directory"])
        os.execve(command[0], command, self._order["environment"])

    def _pump(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._pipe_in, _READ_BYTES):
                self._log.write(data)

    def _obey(self) -> None:
        now_s = time.monotonic()
        if self._kill_asked:
            self._kill("It was ended at once, as asked.")
        elif self._is_told_to_stop() and self._stop_until_s is None:
            self._stop_until_s = now_s + self._order["drain_timeout_s"] + _STOP_GRACE_S
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
        self._log.say(self._record["reason"].splitlines()[0])
        self._log.keep(self._record)
        self._log.close()

    def _reason(self, code: int | None, *, oom: bool) -> str:
        began = self._record.get("reason", "")
        if self._killed:
            return self._killed
        if self._stop_asked and not code:
            return "It was stopped."
        if oom:
            ended = "It was ended by the system for its memory."
        elif code is None:
            ended = "It was never started."
        elif code < 0:
            ended = f"It was ended by {signal_name(-code)}."
        else:
            ended = f"It ended by itself with exit code {code}."
        tail = self._log.last_lines()
        said = f"{began} {ended}".strip()
        return f"{said} Its log ends:\n{tail}" if tail else said

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


def libc() -> Any:
    """Return the C library; without `prctl` there is nothing to ask it for."""
    return ctypes.CDLL(None)


def fcntl_pipe_size(descriptor: int) -> None:
    """Let a pipe hold more."""
    import fcntl  # noqa: PLC0415 - once

    fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_BYTES)


def replace_file(path: str, value: dict[str, Any]) -> None:
    """Write JSON in the place of a file: the old or the new, never half."""
    written = f"{path}.new"
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps(value).encode())
    finally:
        os.close(descriptor)
    os.replace(written, path)  # noqa: PTH105


def started_at(pid: int) -> int:
    """Return when a process was started, in the kernel's own unit; 0 where it is not known."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def children() -> set[int]:
    """Return this process's children."""
    return set(map(int, read_text(f"/proc/self/task/{os.getpid()}/children").split()))


def counted(path: str) -> int:
    """Return the `oom_kill` of a file of counts; 0 where there is none."""
    for line in read_text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0


def signal_name(number: int) -> str:
    """Return a signal's name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def read_text(path: str) -> str:
    """Return what a file holds; nothing where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def write_text(path: str, text: str) -> None:
    """Write a file of the kernel's; it may not be there."""
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
