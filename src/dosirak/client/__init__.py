"""Call: clients of a running service, typed by the schema that it gives of itself.

    url ─▶ Session (what to say) ─▶ Exchange (when again) ─▶ SyncHTTPClient | AsyncHTTPClient

Reading order: `address`, `schema`, `methods`; `request`, `answer`, `retry`, `failure`, `exchange`;
`stream`, `session`, `task`; then the two clients, which only send and wait, and `asgi`,
which lets a test call a service without a socket.
"""

from dosirak.client.asgi import test_client
from dosirak.client.async_client import AsyncHTTPClient
from dosirak.client.sync_client import SyncHTTPClient
from dosirak.client.task import AsyncTask, Task

__all__ = ["AsyncHTTPClient", "AsyncTask", "SyncHTTPClient", "Task", "test_client"]
