"""The exception for errors that the user can fix."""

from __future__ import annotations

from pathlib import Path


def printable(text: str) -> str:
    """Return a text whose control characters and undecodable bytes are escaped, such as those of a file's name.

    >>> printable("a\x1b[2Jb\udcff c")
    'a\\x1b[2Jb\\udcff c'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class UserError(Exception):
    """Report unusable input: what is at fault, what is wrong with it, how to fix it.

    The command line prints it as a single line without a traceback and exits with status 2.

    Parameters
    ----------
    subject : str or Path
        The file, folder, option or column at fault.
    problem : str
        What is wrong, without a final full stop.
    remedy : str
        What the user can do about it, without a final full stop.
    """

    def __init__(self, subject: str | Path, problem: str, remedy: str = "") -> None:
        self.subject, self.problem, self.remedy = str(subject), problem, remedy
        text = f"{self.subject}: {problem}." + (f" {remedy}." if remedy else "")
        super().__init__(printable(" ".join(text.split())))

    @property
    def errors(self) -> tuple[UserError, ...]:
        """The individual errors, one per rejected input."""
        return (self,)

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        """Pickle the three parts, so that worker processes can pass the error on."""
        return type(self), (self.subject, self.problem, self.remedy)
