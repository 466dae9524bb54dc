"""Call the reviewer; the scorer behind it has no address of its own."""

import sys

import dosirak


def main(url: str) -> None:
    with dosirak.SyncHTTPClient(url, ready_timeout_s=60) as client:
        print(client.review(text="good food and great people " * 12))
        print(client.was_batched())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
