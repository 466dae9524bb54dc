"""Descriptors: the limit that a server takes, what workers keep, and what is said of none."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from dosirak.serving.descriptors import (
    FEW_DESCRIPTORS,
    MOST_DESCRIPTORS,
    Scarcity,
    has_none_left,
    raise_limit,
    raised,
    set_limit,
)


@pytest.fixture
def limits():
    found = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield found
    resource.setrlimit(resource.RLIMIT_NOFILE, found)


@pytest.mark.parametrize(
    ("soft", "hard", "taken"),
    [
        (100, 100, 100),
        (1024, 4096, 4096),
        (1024, resource.RLIM_INFINITY, MOST_DESCRIPTORS),
        (1024, 2**30, MOST_DESCRIPTORS),
        (2**24, 2**30, 2**24),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_a_server_takes_what_it_may_and_never_less_than_it_has(soft, hard, taken):
    assert raised(soft, hard) == taken


def test_few_descriptors_are_warned_of_and_the_soft_limit_is_raised():
    # In a process of its own: a hard limit cannot be raised again.
    program = (
        "import resource; from dosirak.serving import descriptors as d\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (50, {FEW_DESCRIPTORS - 1}))\n"
        "print(d.raise_limit(), d.soft_limit())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["50", str(FEW_DESCRIPTORS - 1)]
    assert "ulimit -n" in ran.stderr


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit")
def test_a_child_keeps_the_limit_that_the_server_was_started_with(limits):
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 300), limits[1]))
    before = raise_limit()
    code = "import resource; input(); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        set_limit(child.pid, before)
        printed, _ = child.communicate("\n")
    assert int(printed) == before == min(limits[0], 300)


def test_a_lack_is_said_now_and_then(limits, caplog):
    assert not has_none_left()
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    found = has_none_left()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found
    scarcity = Scarcity()
    said = [scarcity.note("Nothing is left", now_s=now_s) for now_s in (1.0, 2.0, 10.9, 11.0, 12.0)]
    assert said == [True, False, False, True, False]
    assert caplog.text.count("Nothing is left") == 2
