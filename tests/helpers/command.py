"""The command line as a user meets it."""

from __future__ import annotations

from covid_keras.commands.main import main


def fails(capsys, *arguments: object, printed: bool | None = False) -> str:
    """Run the command, assert that it fails as a user's error should, and return its one line and the list below.

    Nothing is on standard output unless `printed`; None accepts both.
    """
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("covid-keras: error: ")
    assert sum(not line.startswith("  ") for line in captured.err.splitlines()) == 1
    assert printed is None or bool(captured.out) == printed
    return captured.err
