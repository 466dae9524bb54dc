"""Who may be told of a task's end, and what they are told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import DosirakError, Forbidden, InvalidConfiguration, RequestError
from dosirak.payload.wire import WireResponse
from dosirak.serving.task_store import Delivery, TaskRecord
from dosirak.serving.webhooks import (
    WAITS_S,
    WebhookPlan,
    again_in_s,
    body_of,
    headers_of,
    key_of,
)

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
PLAN = WebhookPlan(("https://hooks.example.com/in/", "http://127.0.0.1:9000"), SECRET)
RECORD = TaskRecord("1" * 32, "work", "success", 1_700_000_000.25, 1_700_000_001.0)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/in",
        "https://hooks.example.com:443/in/mine?x=1",
        "https://HOOKS.example.com/in/a/b",
        "https://hooks.example.com/in/a;v=1/b%20c",
        "http://127.0.0.1:9000",
        "http://127.0.0.1:9000/x",
    ],
)
def test_what_is_under_an_allowed_address_is_allowed(url):
    assert PLAN.destination(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/in/",
        "https://hooks.example.com/inside",
        "https://hooks.example.com/",
        "https://hooks.example.com:8443/in/",
        "https://hooks.example.com.evil.net/in/",
        "https://evil.net/in/?https://hooks.example.com/in/",
        "http://127.0.0.1:9001/",
        "http://127.0.0.1/",
        "http://[::1]:9000/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_anything_else_is_forbidden(url):
    with pytest.raises(Forbidden):
        PLAN.destination(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com/in/",
        "file:///etc/passwd",
        "https://user:password@hooks.example.com/in/",
        "https://hooks.example.com\\@evil.net/in/",
        "https://hooks.example.com/in/../admin",
        "https://hooks.example.com/in/%2e%2e/admin",
        "https://hooks.example.com/in/%252e%252E/admin",
        "https://hooks.example.com/in/..%2fadmin",
        "https://hooks.example.com/in/..;/admin",
        "https://hooks.example.com/in/..;x=1/admin",
        "https://hooks.example.com/in/.;/admin",
        "https://hooks.example.com/in/..%3b/admin",
        "https://hooks.example.com/in/..%25%33b/admin",
        "https://hooks.example.com/in/%2525252e%2525252e/admin",
        "https://hooks.example.com/in/a%2fb",
        "https://hooks.example.com/in/a%5Cb",
        "https://hooks.example.com/in/\r\nHost: evil",
        "https://hooks.example.com/in/#x",
        "https://hooks.example.com:99999/in/",
        "https://[/in/",
        "https://hooks.example.com/in/" + "x" * 3000,
    ],
)
def test_what_can_be_read_in_two_ways_is_no_address(url):
    with pytest.raises(RequestError):
        PLAN.destination(url)


@given(st.text(max_size=60))
def test_nothing_that_a_caller_writes_gets_past_the_list(text):
    for url in (text, f"https://{text}/in/", f"https://hooks.example.com{text}"):
        try:
            allowed = PLAN.destination(url)
        except DosirakError:
            continue
        assert allowed.lower().startswith(("https://hooks.example.com", "http://127.0.0.1:9000"))


def test_none_is_allowed_by_default():
    WebhookPlan().check()
    with pytest.raises(Forbidden):
        WebhookPlan().destination("https://example.com/")


@pytest.mark.parametrize(
    "plan",
    [
        WebhookPlan(("https://a.example/",), ""),
        WebhookPlan(("https://a.example/",), SECRET.removeprefix("whsec_")),
        WebhookPlan(("https://a.example/",), "whsec_c2hvcnQ="),
        WebhookPlan(("https://a.example/",), "whsec_!"),
        WebhookPlan(("http://a.example/",), SECRET),
        WebhookPlan(("a.example",), SECRET),
        WebhookPlan(("https://a.example/?x",), SECRET),
    ],
)
def test_a_plan_that_cannot_work_is_refused(plan):
    with pytest.raises(InvalidConfiguration) as caught:
        plan.check()
    assert SECRET not in str(caught.value) + repr(plan)


def test_the_signature_is_that_of_standard_webhooks():
    # The example of that specification's reference libraries.
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = headers_of(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', now_s=1614265330, key=key
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_body_holds_the_result_where_it_is_json_and_small():
    def told(answer: WireResponse | None) -> dict:
        body = body_of(Delivery(RECORD, "https://a/", 1, answer), 1_700_000_002.0)
        return json.loads(body)

    whole = told(WireResponse(b'{"a": [1]}', "application/json"))
    assert whole["type"] == "task.success"
    assert whole["timestamp"] == "2023-11-14T22:13:22.000Z"
    assert whole["data"] == {
        "task_id": RECORD.id,
        "api": "work",
        "status": "success",
        "created_at": "2023-11-14T22:13:20.250Z",
        "executed_at": "2023-11-14T22:13:21.000Z",
        "http_status": 200,
        "content_type": "application/json",
        "result": {"a": [1]},
    }
    assert told(WireResponse(b'{"error": "x"}', "application/json", 400))["data"]["error"]
    assert "result" not in told(WireResponse(b"1" * 20_000, "application/json"))["data"]
    assert "result" not in told(WireResponse(b"\x00", "image/png"))["data"]
    assert "content_type" not in told(None)["data"]


def test_signatures_differ_by_what_is_signed():
    made = {
        headers_of(one, body, now_s=now_s, key=key)["webhook-signature"]
        for one in ("a", "b")
        for body in (b"1", b"2")
        for now_s in (1.0, 2.0)
        for key in (b"x" * 24, b"y" * 24)
    }
    assert len(made) == 16
    signed = hmac.digest(b"x" * 24, b"a.1.1", hashlib.sha256)
    assert f"v1,{base64.b64encode(signed).decode()}" in made


@pytest.mark.parametrize("status", [0, 302, 404, 429, 500])
def test_a_failure_is_tried_again_later_and_later_and_then_no_more(status):
    waits = [again_in_s(attempts, status, 0.5) for attempts in range(1, len(WAITS_S) + 1)]
    assert waits == sorted(waits)
    assert waits[0] == WAITS_S[0]
    assert again_in_s(len(WAITS_S) + 1, status, 0.5) is None


@pytest.mark.parametrize("status", [200, 204, 410])
def test_who_has_heard_or_is_gone_is_told_no_more(status):
    assert again_in_s(1, status, 0.5) is None
