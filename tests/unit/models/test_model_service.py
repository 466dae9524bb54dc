from __future__ import annotations

import pytest

from dosirak import models
from dosirak.errors import InvalidInput, UsageError
from dosirak.payload.wire import WireRequest


def test_a_saved_model_is_a_service_that_needs_no_code(tally):
    saved = models.save("sums", tally([1, 2]))
    spec = models.get("sums").spec()
    assert spec.name == "sums"
    (requirement,) = spec.models
    assert requirement.reference == saved.reference
    (api,) = spec.apis
    assert (api.name, api.route) == ("predict", "/predict")
    assert api.batch is not None
    handler = api.bind(spec.create({requirement.attribute: saved.load()}))
    request = WireRequest(body=b'{"rows": [[1, 1], [0, 4]]}', content_type="application/json")
    arguments = api.codec.decode(request)
    assert (
        api.codec.encode(handler(*arguments.args, **arguments.kwargs), request).body == b"[3.0,8.0]"
    )
    with pytest.raises(InvalidInput):
        api.codec.decode(WireRequest(body=b'{"rows": "x"}', content_type="application/json"))


def test_the_api_is_known_without_loading_the_model(tally, monkeypatch):
    import dosirak_tally

    models.save("sums", tally([1]))
    monkeypatch.setattr(dosirak_tally, "load", None)
    assert [parameter["name"] for parameter in models.get("sums").spec().describe()["apis"][0][
        "parameters"]] == ["rows"]  # fmt: skip


def test_a_model_with_no_method_says_what_to_do(tally, monkeypatch):
    import dosirak_tally

    monkeypatch.setattr(dosirak_tally, "methods", lambda model: ())
    with pytest.raises(UsageError, match="Write a service"):
        models.save("sums", tally([1])).spec()
    with pytest.raises(UsageError, match="no method to call"):
        models.save("sums", tally([1]), examples=[[1]])
