"""delta-rs takes the settings of its allocator, and nobody else inherits them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.log import delta

VARIABLE = "_RJEM_MALLOC_CONF"
ROOT = Path(__file__).parents[2]


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**known, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# Says what the variable is when delta-rs is loaded, and afterwards.
SCRIPT = f"""
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "deltalake":
            print(os.environ.get({VARIABLE!r}))
sys.meta_path.insert(0, Watch())
import monitor.log.tables
print(os.environ.get({VARIABLE!r}))
"""


def test_the_settings_are_there_when_it_is_loaded_and_programs_begun_later_do_not_inherit_them() -> None:
    done = run(SCRIPT)
    assert (done.stdout, done.stderr) == (f"{delta.SETTINGS}\nNone\n", "")


def test_an_operators_own_settings_stand() -> None:
    done = run(SCRIPT, **{VARIABLE: "tcache:true"})
    assert (done.stdout, done.stderr) == ("tcache:true\n" * 2, "")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere delta-rs may have another allocator")
def test_the_allocator_reads_the_settings_and_knows_each_of_them() -> None:
    strict = "abort_conf:true," + delta.SETTINGS
    done = run("import deltalake", **{VARIABLE: strict})
    assert (done.returncode, done.stderr) == (0, "")
    # What this would say of a setting that is none.
    refused = run("import deltalake", **{VARIABLE: strict + ",no_such_setting:1"})
    assert refused.returncode != 0
    assert "no_such_setting" in refused.stderr
