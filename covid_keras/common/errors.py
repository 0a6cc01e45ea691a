"""The one exception that a user is meant to see."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Something the user gave cannot be used: which thing, what is wrong with it, what to do.

    The command line prints it as a single line and exits with status 2; no traceback.

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
        super().__init__(" ".join(text.split()))

    @property
    def errors(self) -> tuple[UserError, ...]:
        """The single errors, one line each; more than one where several things given were refused at once."""
        return (self,)

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        """Pickle by the three parts: an error crosses from a worker process to the one that asked."""
        return type(self), (self.subject, self.problem, self.remedy)
