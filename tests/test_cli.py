"""The command line: what it offers, that it answers at once, how it says no."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from monitor.cli import COMMANDS, app
from monitor.version import version
from tests.daemon_process import environment, run_command

HEAVY = (
    "torch",
    "pyarrow",
    "numpy",
    "scipy",
    "sqlalchemy",
    "deltalake",
    "duckdb",
    "fastapi",
    "pydantic",
    "apscheduler",
)


def test_help_lists_every_command_with_what_it_is_for() -> None:
    done = run_command("--help")
    assert done.returncode == 0
    for name, entry in COMMANDS.items():
        assert name in done.stdout
        assert entry.help.split()[0] in done.stdout


def test_listing_the_commands_imports_nothing_that_takes_time() -> None:
    code = f"import sys, monitor.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("finetune", "archive", "serve", "demo")])
def test_every_command_has_help_of_its_own(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_the_version_is_that_of_the_distribution() -> None:
    assert run_command("--version").stdout.strip() == version() != "unknown"


def test_what_the_user_can_mend_is_one_message_and_exit_code_2() -> None:
    done = run_command("config", "check", "--config", "nowhere.yaml")
    assert done.returncode == 2
    assert done.stderr == "error: nowhere.yaml: the configuration cannot be read (got No such file or directory)\n"


def test_an_unknown_command_is_named() -> None:
    done = run_command("montior")
    assert done.returncode == 2
    assert "montior" in done.stderr


def test_a_command_whose_extra_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from monitor.commands import programs
    from monitor.errors import OperatorError

    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(OperatorError) as raised:
        programs.hand_over("finetune", "finetune", [], ("torch",), "finetune")
    assert str(raised.value) == "trueup finetune needs torch. Install them: pip install 'trueup[finetune]'"
