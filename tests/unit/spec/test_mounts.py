"""Where applications may be mounted, and which kind they are."""

from __future__ import annotations

import functools

import pytest

import dosirak
from dosirak.errors import InvalidService


async def asgi(scope, receive, send): ...


def wsgi(environ, start_response): ...


class Application:
    async def __call__(self, scope, receive, send): ...


def make(app, path="/ui", **options):
    @dosirak.mount(path, app, **options)
    @dosirak.service
    class Site:
        @dosirak.api(route="/a/b")
        def one(self, value: int) -> int:
            return value

        @dosirak.task
        def later(self, value: int) -> int:
            return value

    return Site


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        (asgi, "asgi"),
        (wsgi, "wsgi"),
        (Application(), "asgi"),
        (Application, "asgi"),
        (functools.partial(asgi), "asgi"),
        (lambda: asgi, "asgi"),
    ],
)
def test_the_kind_is_found_out(app, kind):
    assert make(app).spec.describe()["mounts"] == [{"path": "/ui", "kind": kind}]


def test_a_factory_is_called_and_an_application_is_not():
    assert make(lambda: wsgi, kind="wsgi").spec.mounts[0].find(None) is wsgi
    assert make(wsgi).spec.mounts[0].find(None) is wsgi


@pytest.mark.parametrize(
    "app", ["text", lambda one: None, lambda *all: None], ids=["text", "one", "any"]
)
def test_what_is_no_application_is_refused(app):
    with pytest.raises(InvalidService):
        make(app)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/-/x",
        "/admin",
        "/metrics",
        "/a",
        "/a/b",
        "/later",
        "/later/submit",
        "ui",
        "/u i",
        "/../x",
    ],
)
def test_paths_in_the_way_of_others_are_refused(path):
    with pytest.raises(InvalidService):
        make(asgi, path)


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/a/b/c", "/ab", "/laterx"])
def test_other_paths_are_taken(path):
    assert make(asgi, path).spec.mounts[0].path == path.rstrip("/")


def test_the_decorator_may_stand_on_either_side_and_on_parents_and_methods():
    class Parent:
        @dosirak.mount("/own")
        def own(self):
            return self.value

        @dosirak.api
        def one(self, value: int) -> int:
            return value

    @dosirak.mount("/over", asgi)
    @dosirak.service
    @dosirak.mount("/under", wsgi)
    class Child(Parent):
        value = 1

    found = {mount.path: mount.find(Child()) for mount in Child.spec.mounts}
    assert set(found) == {"/own", "/over", "/under"}
    assert found["/under"] is wsgi


def test_the_same_path_twice_is_refused():
    with pytest.raises(InvalidService):
        dosirak.mount("/ui", asgi)(make(asgi))
