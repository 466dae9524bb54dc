"""Every page with nothing, with one, with many deployments, and with hostile words in them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient
from tests.unit.deployment.console.seeded import Seeded

from dosirak.deployment.asking import Asking
from dosirak.deployment.records import Event
from dosirak.errors import DeploymentConflict

PAGES = ["/", "/bundles", "/models", "/tokens", "/secrets", "/audit", "/login"]
HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(1)</script>{{7*7}}javascript:alert(1)"
VOID = {"meta", "link", "img", "input", "br"}


class Outline(HTMLParser):
    """Every tag with its attributes, and whether all are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.opened: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def values(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


def _checked(text: str) -> Outline:
    """Every page obeys its own policy: nothing inline, nothing from elsewhere, ids once."""
    outline = Outline(text)
    assert not outline.opened
    for tag, attrs in outline.tags:
        assert not any(name.startswith(("on", "hx-on")) for name in attrs), (tag, attrs)
        assert "style" not in attrs
        assert tag != "style"
        assert tag != "script" or (attrs.get("src") or "").startswith("/-/")
    for address in (*outline.values("src"), *outline.values("href")):
        assert address.startswith(("/", "#"))
        assert not address.startswith("//")
    ids = outline.values("id")
    assert len(ids) == len(set(ids))
    return outline


@pytest.mark.parametrize("path", PAGES)
def test_every_page_stands_with_nothing_to_show(browser: TestClient, path: str):
    answer = browser.get(path)
    assert answer.status_code == 200
    _checked(answer.text)


def test_pages_carry_a_policy_that_runs_no_inline_script(browser: TestClient):
    headers = browser.get("/").headers
    policy = headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_one_deployment_is_told_with_its_numbers(platform: Seeded, browser: TestClient):
    platform.deploy("iris", "iris:1", ready=2, scaling={"max_replicas": 4})
    platform.count(5)
    listed = browser.get("/").text
    _checked(listed)
    assert "running" in listed
    assert "2/2" in listed
    assert '<polyline points="' in listed
    shown = browser.get("/deployments/iris").text
    _checked(shown)
    assert "http://127.0.0.1:1/iris" in shown
    assert "Revision 1 is iris:1." in shown


def test_a_waiting_canary_can_be_promoted_weighed_and_aborted(
    platform: Seeded, browser: TestClient
):
    platform.deploy("iris", "iris:1", strategy="canary", canary={"weight_percent": 25})
    platform.coming("iris", "iris:2")
    shown = browser.get("/deployments/iris").text
    posts = _checked(shown).values("data-post")
    verbs = {post.removeprefix("/api/v1/deployments/iris") for post in posts}
    assert verbs >= {"/promote", "/abort", "/pause", "/weight", "/scale", "/terminate", ""}
    assert 'aria-label="Revision 1: 75 %. Revision 2: 25 %. "' in shown
    assert "It waits to be promoted or aborted." in shown


def test_a_rollout_that_failed_says_why(platform: Seeded, browser: TestClient):
    platform.deploy("iris", "iris:1")
    platform.coming("iris", "iris:2", ready=0)
    platform.fail("iris", "Its replicas ended by themselves 3 times.")
    shown = browser.get("/deployments/iris").text
    assert "to revision 2, failed" in shown
    assert "ended by themselves 3 times" in shown
    assert "/rollback" in "".join(_checked(shown).values("data-post"))


def test_a_terminated_deployment_can_be_started(platform: Seeded, browser: TestClient):
    platform.deploy("iris", "iris:1", ready=0)
    platform.operations.terminate(Asking(), "iris")
    posts = _checked(browser.get("/deployments/iris").text).values("data-post")
    assert "/api/v1/deployments/iris/start" in posts
    assert "/api/v1/deployments/iris/scale" not in posts


def test_a_deployment_whose_bundle_was_deleted_is_still_shown(
    platform: Seeded, browser: TestClient
):
    platform.deploy("iris", "gone:7")
    answer = browser.get("/deployments/iris")
    assert answer.status_code == 200
    assert "gone:7" in answer.text
    assert browser.get("/fragments/deployments/iris/schema").status_code == 404


def test_two_hundred_deployments_are_one_page(platform: Seeded, browser: TestClient):
    platform.deploy_all([f"model-{number:03}" for number in range(200)], "iris:1")
    platform.count(3)
    answer = browser.get("/")
    assert answer.status_code == 200
    assert len(re.findall(r'data-name="model-', answer.text)) == 200
    assert len(answer.content) < 400_000
    numbers = browser.get("/traffic").json()
    assert len(numbers) == 200
    assert numbers["model-000"].keys() == {"requests", "errors", "p95", "spark", "failing"}


def test_hostile_words_stay_words(platform: Seeded, browser: TestClient):
    platform.deploy("iris", "iris:1", note=HOSTILE, labels={HOSTILE: HOSTILE},
                    environment={"WORDS": HOSTILE})  # fmt: skip
    platform.coming("iris", "iris:2", ready=0)
    platform.fail("iris", HOSTILE)
    now = platform.operations.clock()
    with platform.state.transaction() as transaction:
        transaction.add_event(Event(now, "iris", HOSTILE, HOSTILE, actor=HOSTILE, replica=HOSTILE))
    platform.administration.create_token(Asking(), "ci", ["deploy:read:*"], lifetime_s=60.0)
    for path in ("/", "/deployments/iris", "/tokens", "/audit", "/login?to=" + HOSTILE):
        text = browser.get(path).text
        outline = _checked(text)
        assert "<img src=x" not in text
        assert not any(
            (attrs.get("src") or "").startswith("x") for tag, attrs in outline.tags if tag == "img"
        )
        assert "49javascript" not in text
    assert "&lt;img src=x onerror" in browser.get("/deployments/iris").text


@pytest.mark.parametrize("path", ["/deployments/none", "/bundles/none/1", "/models/none/1"])
def test_what_there_is_not_is_a_page_that_says_so(browser: TestClient, path: str):
    answer = browser.get(path)
    assert answer.status_code == 404
    _checked(answer.text)
    assert "There is no" in answer.text or "no " in answer.text


def test_a_bundle_shows_its_endpoints_and_who_uses_it(platform: Seeded, browser: TestClient):
    platform.deploy("iris", "iris:1")
    listed = browser.get("/bundles").text
    _checked(listed)
    assert 'href="/deployments/iris"' in listed
    shown = browser.get("/bundles/iris/1").text
    outline = _checked(shown)
    assert "/predict" in shown
    assert "/api/v1/deployments" in outline.values("data-post")


def test_the_forms_are_made_from_the_schema_of_the_revision(platform: Seeded, browser: TestClient):
    platform.deploy("iris", "iris:1")
    schema = browser.get("/fragments/deployments/iris/schema").json()
    assert [api["route"] for api in schema["apis"]] == ["/predict"]


def test_secrets_and_tokens_are_never_shown(platform: Seeded, browser: TestClient):
    made = platform.administration.create_token(Asking(), "ci", ["admin"], lifetime_s=60.0)
    platform.administration.set_secret(Asking(), "API_KEY", "canary-value")
    pages = {path: browser.get(path).text for path in ("/tokens", "/secrets", "/audit")}
    assert "ci" in pages["/tokens"]
    assert "API_KEY" in pages["/secrets"]
    for text in pages.values():
        assert made.token not in text
        assert "canary-value" not in text


def test_parts_are_what_the_pages_hold(platform: Seeded, browser: TestClient):
    platform.deploy("iris", "iris:1")
    for path in ("", "/tables", "/events"):
        answer = browser.get(f"/fragments/deployments/iris{path}")
        assert answer.status_code == 200
        outline = _checked(answer.text)
        assert outline.tags[0][1]["hx-get"] == f"/fragments/deployments/iris{path}"


def test_a_form_says_which_generation_its_reader_saw(platform: Seeded, browser: TestClient):
    platform.deploy("iris", "iris:1", scaling={"max_replicas": 4})
    outline = _checked(browser.get("/deployments/iris").text)
    seen = next(
        a["data-generation"] for _, a in outline.tags if "data-post" in a and "data-generation" in a
    )
    platform.operations.scale(Asking(), "iris", replicas=2)
    with pytest.raises(DeploymentConflict):
        platform.operations.scale(Asking(generation=int(seen or 0)), "iris", replicas=3)


def test_assets_are_ours_and_named_by_their_content(browser: TestClient):
    outline = _checked(browser.get("/").text)
    assets = [one for one in (*outline.values("src"), *outline.values("href")) if "/-/" in one]
    assert len(assets) >= 5
    for address in assets:
        answer = browser.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert "sourceMappingURL" not in answer.text
    assert browser.get("/-/nothing.js").status_code == 404
    assert "url(" not in browser.get("/-/console.css").text
    licences = browser.get("/-/licenses.txt").text
    assert all(name in licences for name in ("htmx", "idiomorph", "uplot"))


@pytest.mark.parametrize("name", ["console.js", "charts.js", "deployment.js", "theme.js"])
def test_our_scripts_set_text_and_never_markup(browser: TestClient, name: str):
    text = browser.get(f"/-/{name}").text
    assert not re.search(
        r"innerHTML|outerHTML\s*=[^=]|insertAdjacentHTML|document\.write|eval\(", text
    )
    assert "http://" not in text
    assert "https://" not in text
