"""The root command: lists all commands, imports only the one that runs, and ends bad input in one line."""

import gc
import importlib
import subprocess
import sys

import pytest

from edgepress.runtime import EdgepressError, cliio, commands


def test_help_lists_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out and text in out for name, (_, _, text) in commands.COMMANDS.items())


def test_help_imports_no_room():
    code = (
        "import sys; sys.argv = ['edgepress', '--help']\n"
        "from edgepress.runtime.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(m for m in sys.modules if m in ('numpy', 'PIL') or m[:10] == 'edgepress.'), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Commands" in result.stdout
    assert (
        result.stderr.strip()
        == "['edgepress.runtime', 'edgepress.runtime.commands', 'edgepress.runtime.errors', 'edgepress.runtime.main']"
    )


def test_version(run):
    assert run("--version")[1].startswith("edgepress, version ")


def test_an_unknown_command_is_named(run):
    code, _, err = run("compress")
    assert code == 2 and "'compress'" in err


def test_a_missing_extra_is_named(run, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'rich'", name="rich")

    monkeypatch.setattr(importlib, "import_module", missing)
    code, _, err = run("bench")
    assert code == 1
    assert (
        err == "Error: `edgepress bench` needs rich, which is not installed: pip install 'edgepress[bench]'\n"
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (EdgepressError("the reason"), "edgepress: the reason\n"),
        (PermissionError(13, "Permission denied", "out.epx"), "edgepress: out.epx: Permission denied\n"),
        (OSError("no number"), "edgepress: no number\n"),
    ],
)
def test_errors_end_in_one_line(run, monkeypatch, error, line):
    def fail(**_):
        raise error

    monkeypatch.setattr(commands, "cli", fail)
    assert run("models") == (1, "", line)


def test_garbage_is_collected_again_after_a_command_and_in_long_ones(run, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(commands, "cli", lambda **_: seen.append(gc.isenabled()))
    run("models")
    assert (seen, gc.isenabled()) == ([False], True)
    monkeypatch.undo()

    def look(job):
        seen.append(gc.isenabled())
        return cliio.Done("")

    jobs = [cliio.Job(tmp_path / name, tmp_path / name) for name in "ab"]
    for some in (jobs[:1], jobs):
        gc.disable()
        cliio.run_jobs(some, [], look, 1, "looking")
        gc.enable()
    assert seen == [False, False, True, True]
