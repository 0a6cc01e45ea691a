"""The prose of a report, kept in Jinja2 templates beside the code: one block per text.

Templates are in the folder `templates` of a package (of a paper, or this one). Each paragraph is rendered as one line,
so lines may be broken anywhere. ::

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
        Package with the folder `templates` (`"papers.arias_vgg19"`), or that folder.
    template : str
        File name.
    block : str
        Block to render; "" renders the whole template.
    **values
        Values used by the template; a missing one is an error.

    Returns
    -------
    str
        Plain text: one line per paragraph, a blank line between paragraphs.

    Raises
    ------
    jinja2.UndefinedError
        If the template uses a value that is not given.
    KeyError
        If there is no such block.
    """
    found = _environment(package).get_template(template)
    text = "".join(found.blocks[block](found.new_context(values))) if block else found.render(values)
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def notes(package: str | Path, template: str, block: str = "", **values: Any) -> tuple[tuple[str, str], ...]:
    """Render a list of notes as (title, text) pairs; paragraphs that begin with `## ` are titles.

    Parameters as in `prose`.
    """
    found: list[tuple[str, str]] = []
    for part in filter(None, prose(package, template, block, **values).split("\n\n")):
        if part.startswith("## "):
            found.append((part.removeprefix("## "), ""))
        else:
            title, text = found.pop()
            found.append((title, f"{text}\n\n{part}".strip()))
    return tuple(found)


def titled(package: str | Path, template: str, block: str, **values: Any) -> tuple[str, str]:
    """Render a block with one note; return its title and text."""
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
