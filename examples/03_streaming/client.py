"""Read the items one by one, while the service is still producing."""

import sys

import dosirak


def main(url: str) -> None:
    with dosirak.SyncHTTPClient(url, ready_timeout_s=60) as client:
        for word in client.tell(words=3):
            print(word)
        for item in client.count(to=3):
            print(item["number"], item["square"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
