"""What the documentation says can be done: configurations load, commands exist, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitor.cli import COMMANDS
from monitor.config import load_config

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_configuration_that_is_shown_is_a_good_one(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        if "models:" in text:
            file = tmp_path / "trueup.yaml"
            file.write_text(text)
            secrets = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "secret")
            assert load_config(file, secrets).models


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_named_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"`trueup ([a-z]+)", text))
    for block in blocks(page, "(?:sh|console|bash)"):
        named |= set(re.findall(r"^(?:\$ )?trueup ([a-z]+)", block, re.M))
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_benchmark_and_make_target_that_is_named_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    for module in re.findall(r"python -m benchmarks\.([a-z_]+)", text):
        assert (ROOT / "benchmarks" / f"{module}.py").is_file(), module
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= set(targets)
