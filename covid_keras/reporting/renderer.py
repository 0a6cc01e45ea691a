"""Render a `Report` as HTML, Markdown or LaTeX.

The HTML page is self-contained: figures are inlined as SVG, or as WebP if they contain pictures. Markdown names the
figures, and shows those that have a file. LaTeX contains the tables of paper against ours.
"""

from __future__ import annotations

import base64
import html
import io
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from covid_keras.common.files import atomic_path, write_text
from covid_keras.published.facts import table_title
from covid_keras.reporting.document import FigureEntry, Report, Section
from covid_keras.reporting.style import report_style
from covid_keras.reporting.tables import VERDICTS
from covid_keras.reporting.wording import NOTHING, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["html", "md", "tex"]
# Pictures of 320 pixels in three columns (`reporting.examples.SIDE`, `style.WIDTH`) are shown pixel by pixel.
PICTURE_DPI = 120
WEBP_QUALITY = 80
WEBP_SIDE = 16_383  # the format's longest side, pixels
_LATEX = {
    "✓": r"$\checkmark$",
    "≈": r"$\approx$",
    "✗": r"$\times$",
    "○": r"$\circ$",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"\S{}",
    "⁼": r"$^{=}$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "−": "$-$",
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    # After a line break, a bracket would be read as its optional argument.
    "[": "{[}",
    "]": "{]}",
}


_DRAWN: WeakKeyDictionary[Figure, bytes | Image.Image] = WeakKeyDictionary()


def render(report: Report, kind: Kind = "html") -> str:
    """Return a report as text. The output is deterministic.

    Raises
    ------
    ValueError
        If a citation's URL is not http(s).
    """
    for text, url in report.citations:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError(f"the URL of {text!r} is not http(s): {url}")
    sections = [section for section in report.sections if not section.empty]
    text = _environment(kind).get_template(f"page.{kind}.j2").render(report=report, sections=sections)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def fragment(*sections: Section) -> str:
    """Return sections as Markdown to be embedded in another file."""
    return render(Report(disclaimer="", sections=list(sections)), "md")


def write_report(path: str | Path, report: Report) -> Path:
    """Write the HTML page atomically; return the path."""
    return write_text(path, render(report))


def write_figures(folder: Path, report: Report) -> list[Path]:
    """Write every figure of a report, named by its position and title; return the files.

    Figures of numbers are SVG, those that hold pictures PNG, without loss. Such files of an earlier report are removed.
    """
    written: list[Path] = []
    for section in report.sections:
        for entry in _figures_of(section):
            words = re.sub(r"[^a-z0-9]+", "-", entry.title.lower()).strip("-")[:80]
            found = _drawn_once(entry.figure)
            kind, content = ("svg", found) if isinstance(found, bytes) else ("png", _encoded(found, "png"))
            written.append(folder / f"{len(written) + 1:02d}-{words}.{kind}")
            with atomic_path(written[-1]) as temporary:
                temporary.write_bytes(content)
    for path in {*folder.glob("*.png"), *folder.glob("*.svg")} - set(written):
        path.unlink()
    return written


def write_page(path: Path, report: Report) -> Path:
    """Write a report as Markdown, and beside it the files of its figures; return the path."""
    for section in report.sections:
        for entry in (one for one in _figures_of(section) if one.file):
            write_figure(path.parent / entry.file, entry.figure)
    return write_text(path, render(report, "md"))


def _figures_of(section: Section) -> Iterator[FigureEntry]:
    yield from (*section.figures, *section.folded)
    for part in (*section.parts, *section.details):
        yield from _figures_of(part)


def write_figure(path: Path, figure: Figure, dpi: int = PICTURE_DPI) -> None:
    """Write a figure atomically as PNG, at `dpi`, or as SVG, by its suffix."""
    content = drawn(figure, "svg" if path.suffix == ".svg" else "png", dpi)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def drawn(figure: Figure, kind: Literal["png", "svg"], dpi: int = PICTURE_DPI) -> bytes:
    buffer = io.BytesIO()
    # Without date and program name, the same figure gives the same bytes.
    metadata: dict[str, None] = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with report_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # names in any script; a box is drawn
        figure.savefig(buffer, format=kind, dpi=dpi if kind == "png" else "figure", metadata=metadata)
    return buffer.getvalue()


def _drawn_once(figure: Figure) -> bytes | Image.Image:
    """Return a figure as SVG, or as pixels if it contains pictures; drawn once for page and file."""
    if figure not in _DRAWN:
        holds_pictures = sum(image.get_array().size for axes in figure.axes for image in axes.images) > 10_000
        _DRAWN[figure] = _pixels(figure) if holds_pictures else drawn(figure, "svg")
    return _DRAWN[figure]


def _pixels(figure: Figure) -> Image.Image:
    """Draw a figure of pictures. `savefig` would draw it twice, once for the layout alone."""
    with report_style():
        figure.set_dpi(PICTURE_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _encoded(pixels: Image.Image, kind: Literal["png", "webp"]) -> bytes:
    buffer = io.BytesIO()
    pixels.save(buffer, kind, **({"quality": WEBP_QUALITY} if kind == "webp" else {"compress_level": 4}))
    return buffer.getvalue()


def inline_figure(figure: Figure, alternative: str) -> Markup:
    """Return a figure as an `<img>` with a data URI."""
    found = _drawn_once(figure)
    if isinstance(found, bytes):
        kind, content = "svg+xml", found
    else:
        kind = "webp" if max(found.size) <= WEBP_SIDE else "png"
        content = _encoded(found, kind)
    data = base64.b64encode(content).decode("ascii")
    width, height = (round(96 * side) for side in figure.get_size_inches())
    return Markup(
        f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(alternative)}" '
        f'width="{width}" height="{height}">'
    )


def latex_escape(text: object) -> str:
    """Escape LaTeX's special characters and our signs."""
    return "".join(_LATEX.get(character, character) for character in str(text))


@lru_cache(maxsize=3)
def _environment(kind: Kind) -> jinja2.Environment:
    # Braces are special in LaTeX.
    marks = ("<%", "%>", "<<", ">>", "<#", "#>") if kind == "tex" else ("{%", "%}", "{{", "}}", "{#", "#}")
    environment = jinja2.Environment(
        *marks,
        loader=jinja2.PackageLoader("covid_keras.reporting"),
        autoescape=kind == "html",
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        inline_figure=inline_figure, table_title=table_title, verdict_signs=VERDICTS, paragraphs=_paragraphs
    )
    environment.filters.update(shown=_shown, line=_line, cell=_cell, tex=latex_escape)
    return environment


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    return NOTHING if value is None or value is pd.NA else str(value)


def _line(value: Any) -> str:
    """Return text on one line, for a Markdown list."""
    return " ".join(_shown(value).split())


def _cell(value: Any) -> str:
    """Return text as a cell of a Markdown table: on one line, pipes escaped."""
    return _line(value).replace("\\", "\\\\").replace("|", "\\|")
