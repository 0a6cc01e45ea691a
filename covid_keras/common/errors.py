"""The exception for errors that the user can fix."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

# Characters of the subject, the problem and the remedy of a message.
_MOST_SHOWN = 1000
_ESCAPE = re.compile(r"\\x\{(10[0-9a-f]{4}|[0-9a-f]{1,5})\}")


def printable(text: object) -> str:
    """Return foreign text, such as the name of a file, for messages, pages and figures.

    Control characters, marks of text direction and undecodable bytes become `\\x{...}`, so that they neither act on
    the terminal nor fail to be written. Text that is printable already stays as it is.

    >>> printable("a\x1b[2Jb\udcff c")
    'a\\\\x{1b}[2Jb\\\\x{dcff} c'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(one if _is_shown(one) else f"\\x{{{ord(one):x}}}" for one in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded: it holds no undecodable byte of a name, nor half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(text: str) -> str:
    """Return a text as by `printable`, in a form that `unescaped` reverses."""
    return printable(_ESCAPE.sub(r"\\x{5c}x{\1}", text) if "\\x{" in text else text)


def unescaped(text: str) -> str:
    """Return the text of which `escaped` made `text`."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "\\x{" in text else text


def _shortened(text: str) -> str:
    """Return a text without its middle if it is too long for a message, as one that quotes a file's contents may be."""
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN // 2]} ... {text[-_MOST_SHOWN // 2 :]}"


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
        subject, problem, remedy = (_shortened(text) for text in (self.subject, problem, remedy))
        text = f"{subject}: {problem}." + (f" {remedy}." if remedy else "")
        super().__init__(printable(" ".join(text.split())))

    @property
    def errors(self) -> tuple[UserError, ...]:
        """The individual errors, one per rejected input."""
        return (self,)

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        """Pickle the three parts, so that worker processes can pass the error on."""
        return type(self), (self.subject, self.problem, self.remedy)
