"""The edgepress command in process, for the tests of the command line."""

import sys

import pytest

from edgepress.runtime import main


@pytest.fixture
def exit_code(monkeypatch):
    """`exit_code(*arguments)` runs the edgepress command."""

    def exit_code(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgepress", *map(str, arguments)])
        try:
            main.main()
        except SystemExit as exit_:
            return exit_.code
        return 0

    return exit_code


@pytest.fixture
def run(exit_code, capsys):
    """`run(*arguments) -> (exit code, stdout, stderr)` of the edgepress command."""

    def run(*arguments):
        return (exit_code(*arguments), *capsys.readouterr())

    return run
