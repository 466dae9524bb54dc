"""The whole way in one go: train, pack, seal, serve, call, stop. `make quickstart` runs it.

Each step is a command that you could type; it is shown before it runs. Models and bundles are kept
in .quickstart at the top of the repository (or in DOSIRAK_HOME); nothing else is left behind.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NoReturn

from sklearn.datasets import load_breast_cancer

import dosirak

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.setdefault("DOSIRAK_HOME", str(HERE.parents[1] / ".quickstart"))).absolute()
DOSIRAK = [sys.executable, "-m", "dosirak"]
PATIENCE_S = float(os.environ.get("QUICKSTART_PATIENCE_S", "600"))
LOG_LINES_SHOWN = 20
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def main() -> None:
    os.environ["DOSIRAK_HOME"] = str(HOME)
    step("Train two models and save them", "python train.py")
    run([sys.executable, "train.py"])
    step("See what is saved", "dosirak models list")
    run([*DOSIRAK, "models", "list"])
    step("Seal code, environment and models into a bundle", "dosirak build")
    bundle = json.loads(capture([*DOSIRAK, "build", "-o", "json"]))
    print(f"{bundle['reference']}  id {bundle['id'][:12]}…  models: {', '.join(bundle['models'])}")

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    step("Serve the bundle", f"dosirak serve {bundle['reference']} --port {port}")
    log = HOME / "quickstart-serve.log"
    with log.open("w") as output:
        command = [*DOSIRAK, "serve", bundle["reference"], "--port", str(port)]
        server = subprocess.Popen(command, cwd=HERE, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_ready(url, server, log)
        print(f"ready at {url} (with a page to try it), log in {log}")
        step("Call it with the client", f"python client.py {url}")
        run([sys.executable, "client.py", url])
        call_with_json(url)
    except BaseException:
        # What went wrong is said last, where it is read; the server just goes.
        stop(server)
        raise
    step("Stop it gracefully", f"kill -TERM {server.pid}")
    code = stop(server)
    print(f"the server ended with exit code {code}")
    if code:
        fail("The server did not stop cleanly.", log)
    print(f"\n{BOLD}Done.{PLAIN} The models and the bundle are in {HOME}")
    print(f"Next: DOSIRAK_HOME={HOME} {DOSIRAK[0]} -m dosirak serve {bundle['reference']}")


def call_with_json(url: str) -> None:
    rows = load_breast_cancer(as_frame=True).data.iloc[:1].to_dict("records")
    body = json.dumps({"measurements": rows})
    step("Call it with plain JSON", f"curl {url}/predict --json '{body[:60]}…'")
    request = urllib.request.Request(
        f"{url}/predict", body.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        print(answer.read().decode())


def wait_until_ready(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait as long as the server is alive: on a busy machine the first start takes minutes."""
    began = told = time.monotonic()
    with dosirak.SyncHTTPClient(url) as client:
        while server.poll() is None:
            if client.is_ready():
                return
            now = time.monotonic()
            if now - began > PATIENCE_S:
                advice = "Run it again when the machine is less busy, or allow more time:"
                fail(
                    f"The server was not ready after {PATIENCE_S:g} s. {advice}"
                    f" QUICKSTART_PATIENCE_S={2 * PATIENCE_S:g} make quickstart",
                    log,
                )
            if now - told > 20:
                print(f"still starting after {now - began:.0f} s …", flush=True)
                told = now
            time.sleep(0.2)
    fail(f"The server ended with exit code {server.returncode} before it was ready.", log)


def stop(server: "subprocess.Popen[bytes]") -> int:
    server.send_signal(signal.SIGTERM)
    try:
        return server.wait(timeout=60)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def fail(reason: str, log: Path) -> NoReturn:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    shown = "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:]) or "  (empty)"
    sys.exit(f"\n{reason}\nThe end of the server's log, {log}:\n{shown}")


def step(title: str, command: str) -> None:
    print(f"\n{BOLD}{title}{PLAIN}\n{DIM}$ {command}{PLAIN}", flush=True)


def run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=HERE, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def capture(command: list[str]) -> str:
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
