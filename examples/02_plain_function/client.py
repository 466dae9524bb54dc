"""Call it well, then badly: each wrong field is named."""

import sys

import dosirak
from dosirak.errors import DosirakError


def main(url: str) -> None:
    with dosirak.SyncHTTPClient(url, ready_timeout_s=60) as client:
        print(client.shout(text="lunch"))
        print(client.shout(text="lunch", times=3, mood="angry"))
        try:
            client.shout(text="lunch", mood="hungry")
        except DosirakError as error:
            print(f"refused: {error.fields[0].field}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000")
