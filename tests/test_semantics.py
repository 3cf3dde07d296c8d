"""Every promise of docs/semantics.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
PROOFS = re.findall(r"^- `(tests/[\w/]+\.py)::(\w+)`$", PAGE, flags=re.MULTILINE)


def names(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_a_promise_names_a_test_that_exists(file: str, name: str) -> None:
    assert name in names(ROOT / file)


def test_every_promise_is_proven_by_something() -> None:
    promises = PAGE.split("## Promises", 1)[1].split("## What is not promised", 1)[0]
    paragraphs = re.split(r"^\*\*", promises, flags=re.MULTILINE)[1:]
    assert len(paragraphs) >= 7
    assert [text.splitlines()[0] for text in paragraphs if "- `tests/" not in text] == []
    assert len(PROOFS) == len(re.findall(r"^- `", promises, flags=re.MULTILINE))
