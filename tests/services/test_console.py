"""The console in a real browser: what is live, what is clicked, what is typed, what is refused."""

from __future__ import annotations

import http.server
import importlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from tests.unit.deployment.console.seeded import Seeded, seeded
from tests.unit.deployment.platform_on_paper import store

from dosirak.deployment.asking import Asking
from dosirak.deployment.paths import PlatformPaths
from dosirak.deployment.records import Event
from dosirak.deployment.state.database import open_state
from dosirak.store import Store

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
compute_driver_executable = importlib.import_module(
    "playwright._impl._driver"
).compute_driver_executable
_CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def _cannot_drive() -> str:
    """Return what keeps a browser from being driven here; empty for nothing."""
    if _CHROMIUM is None:
        return "no Chromium is installed"
    # The driver is a program of its own, in the wheel, that needs libraries of the system.
    tried = subprocess.run([*compute_driver_executable(), "--version"], capture_output=True)
    return f"the driver does not run: {tried.stderr.decode()[:200]}" if tried.returncode else ""


_REASON = _cannot_drive()
pytestmark = pytest.mark.skipif(bool(_REASON), reason=_REASON)
__all__ = ["store"]

HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(1)</script>"
_PATIENCE_MS = 60_000


class Answering(http.server.BaseHTTPRequestHandler):
    """A router with one deployment behind it."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = json.dumps({"path": self.path, "asked": asked, "said": HOSTILE}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...  # pyright: ignore


@pytest.fixture(scope="module")
def router_url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(30)


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, store: Store, router_url: str
) -> Iterator[Seeded]:
    paths = PlatformPaths(tmp_path_factory.mktemp("console") / "home")
    state = open_state(paths)
    yield seeded(paths, state, store, router_url)
    state.close()


def _serving(application: object) -> tuple[str, Callable[[], None]]:
    """Serve in a thread; return the address and what ends it."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            application,  # pyright: ignore
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()

    def end() -> None:
        server.should_exit = True
        thread.join(60)
        listener.close()

    return f"http://127.0.0.1:{listener.getsockname()[1]}", end


@pytest.fixture(scope="module")
def address(platform: Seeded) -> Iterator[str]:
    found, end = _serving(platform.application())
    yield found
    platform.logs.closed = True
    end()


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(chromium: playwright.Browser, address: str) -> Iterator[playwright.BrowserContext]:
    found = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    found.set_default_timeout(_PATIENCE_MS)
    yield found
    found.close()


@pytest.fixture
def page(context: playwright.BrowserContext) -> Iterator[playwright.Page]:
    """A tab that fails the test when a script of somebody's runs, or the policy is broken."""
    found = context.new_page()
    wrong: list[str] = []
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    found.on("console", lambda said: wrong.append(said.text) if "Policy" in said.text else None)
    yield found
    found.close()
    assert wrong == []


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _canary(platform: Seeded, name: str) -> None:
    platform.deploy(name, "iris:1", strategy="canary", scaling={"max_replicas": 4},
                    canary={"weight_percent": 25})  # fmt: skip
    platform.coming(name, "iris:2")


def test_the_list_follows_what_happens_without_being_loaded_again(
    page: playwright.Page, platform: Seeded
):
    platform.deploy("first", "iris:1")
    page.goto("/")
    page.evaluate("window.sameDocument = true")
    playwright.expect(page.locator("#live")).to_have_text("live")
    platform.deploy("second", "iris:1")
    row = page.locator("#row-second")
    playwright.expect(row.locator(".pill")).to_have_text("running")
    platform.count(3, per_second=50.0)
    playwright.expect(row.locator("[data-number=requests]")).not_to_have_text("–")
    platform.operations.terminate(Asking(), "second")
    playwright.expect(row.locator(".pill")).to_have_text("terminating")
    assert page.evaluate("window.sameDocument") is True


def test_a_change_leaves_focus_and_what_is_typed_alone(page: playwright.Page, platform: Seeded):
    _canary(platform, "typed")
    page.goto("/deployments/typed")
    replicas = page.get_by_role("spinbutton", name="Replicas")
    replicas.fill("3")
    details = page.locator("#revision-1 details")
    details.locator("summary").click()
    replicas.focus()
    now = platform.operations.clock()
    with platform.state.transaction() as transaction:
        transaction.add_event(Event(now, "typed", "replica_ready", "Something happened."))
    playwright.expect(page.locator("#events")).to_contain_text("Something happened.")
    platform.operations.set_weight(Asking(), "typed", 40)
    playwright.expect(page.locator(".legend")).to_contain_text("Revision 2 40 %")
    assert replicas.input_value() == "3"
    playwright.expect(replicas).to_be_focused()
    assert details.get_attribute("open") is not None
    page.get_by_role("button", name="Scale").click()
    _until(lambda: platform.operations.get("typed").replicas.wanted == 3)


def test_the_keyboard_alone_promotes(page: playwright.Page, platform: Seeded):
    _canary(platform, "keyed")
    page.goto("/deployments/keyed")
    page.keyboard.press("Tab")
    playwright.expect(page.get_by_text("Skip to the content")).to_be_focused()
    promote = page.get_by_role("button", name="Promote")
    for _ in range(40):
        if promote.evaluate("button => button === document.activeElement"):
            break
        page.keyboard.press("Tab")
    playwright.expect(promote).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    playwright.expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    playwright.expect(dialog).to_be_hidden()
    playwright.expect(promote).to_be_focused()
    rollout = platform.operations.get("keyed").rollout
    assert rollout is not None
    assert not rollout.promoted
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("button", name="Yes")).to_be_focused()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#rollout .pill")).to_have_text("progressing")


def test_a_weight_is_set_by_sliding(page: playwright.Page, platform: Seeded):
    _canary(platform, "weighed")
    page.goto("/deployments/weighed")
    slider = page.get_by_label("Weight of revision 2")
    slider.focus()
    page.keyboard.press("End")
    playwright.expect(page.locator("#weight-shown")).to_have_text("100 %")
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Set").click()
    playwright.expect(page.locator(".legend")).to_contain_text("Revision 2 99 %")


def test_a_deployment_is_deleted_by_who_types_its_name(page: playwright.Page, platform: Seeded):
    platform.deploy("doomed", "iris:1", ready=0)
    page.goto("/deployments/doomed")
    page.get_by_role("button", name="Delete").click()
    yes = page.get_by_role("button", name="Yes")
    playwright.expect(yes).to_be_disabled()
    page.get_by_label("Type its name to go on").fill("doomed")
    yes.click()
    page.wait_for_url("**/")
    assert platform.operations.get("doomed").status.status == "terminating"


def test_a_button_never_says_what_it_no_longer_does(page: playwright.Page, platform: Seeded):
    platform.deploy("ended", "iris:1", ready=0)
    page.goto("/deployments/ended")
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("button", name="Yes").click()
    start = page.get_by_role("button", name="Start")
    playwright.expect(start).to_be_visible()
    assert page.get_by_role("button", name="Terminate").count() == 0
    start.click()
    playwright.expect(page.locator("#summary .pill")).to_have_text("deploying")


def test_what_the_control_plane_refuses_is_said(page: playwright.Page, platform: Seeded):
    platform.deploy("refused", "iris:1", scaling={"max_replicas": 2})
    page.goto("/deployments/refused")
    replicas = page.get_by_role("spinbutton", name="Replicas")
    replicas.evaluate("input => { input.max = 9; }")
    replicas.fill("9")
    page.get_by_role("button", name="Scale").click()
    playwright.expect(page.locator(".toast.bad")).to_contain_text("outside the deployment's 1 to 2")


def test_an_api_is_tried_through_the_router(page: playwright.Page, platform: Seeded):
    platform.deploy("tried", "iris:1")
    page.goto("/deployments/tried")
    page.locator("#apis input[type=number]").fill("41")
    page.get_by_role("button", name="Send").click()
    answer = page.locator(".answer pre")
    playwright.expect(answer).to_contain_text('"path": "/tried/predict"')
    playwright.expect(answer).to_contain_text('"value": 41')
    playwright.expect(page.locator(".answer .status")).to_have_text("200 OK")
    assert page.locator(".answer img").count() == 0


def test_charts_are_drawn_and_go_on(page: playwright.Page, platform: Seeded):
    platform.deploy("charted", "iris:1")
    platform.count(50, until=time.time() - 4)
    page.goto("/deployments/charted")
    playwright.expect(page.locator("#charts canvas")).to_have_count(4)
    points = "trafficCharts.at.length"
    _until(lambda: page.evaluate(points) >= 50)
    platform.count()
    _until(lambda: page.evaluate(points) > 50)
    page.select_option("#chart-span", "long")
    _until(lambda: page.evaluate("trafficCharts.step === 60 && trafficCharts.at.length > 0"))


def test_a_log_goes_on_and_its_words_stay_words(page: playwright.Page, platform: Seeded):
    platform.deploy("logged", "iris:1", note=HOSTILE, labels={"about": HOSTILE})
    page.goto("/deployments/logged")
    log = page.locator("#log")
    playwright.expect(log).to_contain_text("answered request 39")
    (replica,) = platform.operations.get("logged").running
    platform.logs.lines[replica.id].append(HOSTILE)
    playwright.expect(log).to_contain_text(HOSTILE)
    playwright.expect(page.locator("#summary")).to_contain_text(HOSTILE)
    assert page.locator("main img").count() == 0


def test_a_chosen_theme_stays(page: playwright.Page):
    page.goto("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.evaluate(ground) != light
    page.reload()
    assert page.evaluate(ground) != light
    playwright.expect(page.locator("#theme")).to_have_attribute("aria-label", "Theme: dark")
    page.evaluate("localStorage.clear()")


def test_nothing_is_wider_than_a_phone(page: playwright.Page, platform: Seeded):
    name = "a-name-that-is-as-long-as-a-name-of-a-deployment-may-be-here"
    _canary(platform, name)
    platform.administration.create_token(Asking(), "ci", ["deploy:read:*"], lifetime_s=60.0)
    page.set_viewport_size({"width": 360, "height": 740})
    shown = ["/", f"/deployments/{name}", "/bundles", "/bundles/iris/1", "/tokens", "/audit"]
    for path in shown:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_a_token_is_asked_for_where_tokens_are_needed(
    chromium: playwright.Browser, platform: Seeded
):
    platform.deploy("guarded", "iris:1")
    made = platform.administration.create_token(
        Asking(), "people", ["deploy:read:guarded"], lifetime_s=600.0
    )
    address, end = _serving(platform.application(require_tokens=True))
    context = chromium.new_context(base_url=address)
    context.set_default_timeout(_PATIENCE_MS)
    page = context.new_page()
    page.goto("/deployments/guarded")
    page.get_by_label("Token").fill("dsk_wrong")
    page.get_by_role("button", name="Log in").click()
    playwright.expect(page.locator(".toast.bad")).to_be_visible()
    page.get_by_label("Token").fill(made.token)
    page.keyboard.press("Enter")
    playwright.expect(page.locator("h1")).to_contain_text("guarded")
    playwright.expect(page.locator("#live")).to_have_text("live")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    context.close()
    end()
