"""The edgepress command in process, for the tests of the command line."""

import sys

import pytest

from edgepress.runtime import main


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(*arguments) -> (exit code, stdout, stderr)` of the edgepress command."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgepress", *map(str, arguments)])
        code = 0
        try:
            main.main()
        except SystemExit as exit_:
            code = exit_.code
        return (code, *capsys.readouterr())

    return run
