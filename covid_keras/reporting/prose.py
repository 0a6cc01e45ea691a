"""The prose of a report, kept in templates beside the code: Jinja2, one block per text.

A template lies in the folder `templates` of a package (of a paper, or of this one). Lines within a paragraph may be
broken anywhere: a paragraph is rendered as one line. ::

    {% block filter_caption %}
    Test images: {{ frontal }} frontal and {{ counted(lateral, "lateral image") }}; the recall of frontal is
    {{ recall | number }} {{ interval(low, high) }}.
    {% endblock %}

    prose("papers.arias_vgg19", "report.md", "filter_caption", frontal=1, lateral=2, recall=90.0, low=80.0, high=95.0)

Besides Jinja's own filters there are `number`, `signed`, `percent` (of a share), `sentence`, `stopped`, `joined`,
`level`, `points` and, as functions, `interval(low, high)`, `counted(count, what)` and `span(values)`; see
`covid_keras.reporting.wording`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from covid_keras.reporting import wording


def prose(package: str | Path, template: str, block: str = "", **values: Any) -> str:
    """Render a text.

    Parameters
    ----------
    package : str or Path
        The package whose folder `templates` holds the template (`"papers.arias_vgg19"`), or that folder itself.
    template : str
        Name of the file.
    block : str
        Which block of it; the whole template where empty.
    **values
        What the template names; a name that is missing is an error.

    Returns
    -------
    str
        Plain text: one line per paragraph, a blank line between paragraphs.

    Raises
    ------
    jinja2.UndefinedError
        If the template names a value that is not given.
    KeyError
        If it has no such block.
    """
    found = _environment(package).get_template(template)
    text = "".join(found.blocks[block](found.new_context(values))) if block else found.render(values)
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def notes(package: str | Path, template: str, block: str = "", **values: Any) -> tuple[tuple[str, str], ...]:
    """Render a list of notes: each paragraph that begins with `## ` is a title, what follows it is its text.

    Parameters as in `prose`; returns (title, text) pairs.
    """
    found: list[tuple[str, str]] = []
    for part in prose(package, template, block, **values).split("\n\n"):
        if part.startswith("## "):
            found.append((part.removeprefix("## "), ""))
        else:
            title, text = found.pop()
            found.append((title, f"{text}\n\n{part}".strip()))
    return tuple(found)


def titled(package: str | Path, template: str, block: str, **values: Any) -> tuple[str, str]:
    """Render a block of one note; return its title and its text."""
    ((title, text),) = notes(package, template, block, **values)
    return title, text


@lru_cache(maxsize=16)
def _environment(package: str | Path) -> jinja2.Environment:
    loader: jinja2.BaseLoader = (
        jinja2.FileSystemLoader(package) if isinstance(package, Path) else jinja2.PackageLoader(package)
    )
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters.update(
        number=wording.number,
        signed=lambda value: wording.number(value, signed=True),
        percent=wording.percent,
        sentence=wording.sentence,
        stopped=wording.stopped,
        joined=wording.joined,
        level=wording.level,
        points=wording.points,
    )
    environment.globals.update(interval=wording.interval, counted=wording.counted, span=wording.span)
    return environment
