"""Documents agree with the code: pages made from it are fresh, links lead somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dosirak import errors
from dosirak.errors import DosirakError

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("*.md", "docs/**/*.md", "examples/**/*.md", "packages/**/*.md")
DOCUMENTS = sorted(found for place in PLACES for found in ROOT.glob(place))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_reference_pages_are_what_the_code_says() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "write_reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _below(kind: type[DosirakError]) -> list[type[DosirakError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _below(child))]


OWN_ERRORS = [kind for kind in _below(DosirakError) if kind.__module__ == errors.__name__]


def test_every_error_class_is_drawn_in_the_tree_and_has_a_row_in_the_reference() -> None:
    tree = errors.__doc__ or ""
    page = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    assert len(OWN_ERRORS) > 30
    for kind in OWN_ERRORS:
        assert re.search(rf"\b{kind.__name__}\b", tree), kind
        assert re.search(rf"\b{kind.__name__}` \| `{kind.code}`", page), kind


def test_no_error_code_is_defined_outside_of_the_tree() -> None:
    names = {kind.__name__ for kind in OWN_ERRORS}
    for path in (ROOT / "src").rglob("*.py"):
        # A foreign door gives its own names to our errors, for code that catches those.
        if path.name == "errors.py" or "compat" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and names & {ast.unparse(b) for b in node.bases}:
                assigned = {ast.unparse(part).partition(" =")[0] for part in node.body}
                assert "code" not in assigned, f"{path}: {node.name}"


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in OWN_ERRORS]
    assert len(codes) == len(set(codes))


def _anchor(heading: str) -> str:
    text = re.sub(r"[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def _anchors(document: Path) -> set[str]:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    return {_anchor(heading) for heading in re.findall(r"^#+\s+(.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_relative)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    broken: list[str] = []
    for groups in LINK.findall(text):
        address = next(filter(None, groups))
        if re.match(r"[a-z]+:", address):  # another site: not ours to test
            continue
        place, _, anchor = address.partition("#")
        target = (document.parent / place).resolve() if place else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(address)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_relative)
def test_no_document_names_a_registry_s_host(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    hosts = ["pypi" + ".org", "python" + "hosted.org", "npm" + "js"]
    assert [host for host in hosts if host in text] == []


def test_the_contribution_guide_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 80


def test_every_decision_record_has_its_parts() -> None:
    records = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert len(records) >= 6
    for record in records:
        text = record.read_text(encoding="utf-8")
        for part in ("## Context", "## Options", "## Decision", "## Consequences"):
            assert part in text, f"{record.name} lacks {part}"
