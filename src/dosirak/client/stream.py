"""How a stream may end badly. Pure.

`payload` turns pieces into items and knows the end mark; here its errors, and those of the
connection, become errors of the tree. Half a stream is never taken for a whole one.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from dosirak.client.answer import kindred, unreadable
from dosirak.client.exchange import TRANSPORT_ERRORS
from dosirak.client.failure import failure_of_exception
from dosirak.errors import DosirakError, RemoteError


@contextmanager
def reading_stream(url: str, timeout_s: float) -> Generator[None]:
    """Turn whatever reading a stream raises into errors of the tree.

    Raises:
        DosirakError: the error with which the service ended the stream, or what broke it off.
    """
    try:
        yield
    except RemoteError as error:
        raise kindred(error) from error
    except DosirakError:
        raise
    except TRANSPORT_ERRORS as error:
        raise failure_of_exception(error, url=url, timeout_s=timeout_s).error from error
    # A stranger's bytes go through many libraries' readers; each has its own ways to refuse them.
    except Exception as error:
        raise unreadable(url, error) from error
