"""Submit two tasks, then collect their results; the connection is not held meanwhile."""

import sys

import dosirak


def main(url: str) -> None:
    with dosirak.SyncHTTPClient(url, ready_timeout_s=60) as client:
        tasks = [client.count.submit(below=below) for below in (1_000, 1_000_000)]
        for task in tasks:
            print(task.get(wait_timeout_s=60))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
