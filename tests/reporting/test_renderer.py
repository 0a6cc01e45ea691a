"""The renderer: pages are self-contained, escaped, balanced and repeatable; Markdown holds the same parts."""

from __future__ import annotations

import base64
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from covid_keras import DISCLAIMER
from covid_keras.common.errors import UserError
from covid_keras.evaluation.verdicts import Outcome, Verdict
from covid_keras.reporting import (
    AgainstEntry,
    FigureEntry,
    PaperTable,
    Report,
    Section,
    TableEntry,
    confusion_panels,
    fragment,
    render,
    write_report,
)
from covid_keras.reporting.renderer import PICTURE_DPI, WEBP_SIDE, write_figures
from covid_keras.reporting.tables import Cell
from tests.helpers.pages import Page

NASTY = '<script>alert("x")</script> & \'"'


def table(verdict: Verdict | None, note: str = "") -> PaperTable:
    cells = {("a", NASTY): Cell("1", "2", "[1, 3]", verdict, NASTY), ("b", NASTY): Cell("4", "5", "")}
    return PaperTable("V", ("a", "b"), (NASTY,), cells, {"a": note} if note else {})


def picture_of(image: np.ndarray) -> Figure:
    figure = Figure()
    figure.subplots().imshow(image)
    return figure


def full_report() -> Report:
    drawing = confusion_panels({"A": np.eye(2, dtype=int)}, ["negative", "positive"])
    picture = picture_of(np.full((128, 128), 90, np.uint8))
    return Report(
        title="A paper " + NASTY,
        subtitle=NASTY,
        banner="PHANTOM DATA " + NASTY,
        facts=[("Data", NASTY), ("Executions", 25), ("Nothing", None), ("Share", 0.5)],
        verdicts={"reproduced": 1, "within interval": 0, "not reproduced": 0, "not comparable": 0},
        sections=[
            Section(
                "Paper against ours",
                against=[AgainstEntry(table(Verdict(None, Outcome.REPRODUCED)), NASTY, f"{NASTY}\n\nSecond.")],
                figures=[FigureEntry("Table V, drawn", "", drawing)],
            ),
            Section("Empty"),
            Section(
                "Training",
                f"First {NASTY}.\n\nSecond.",
                tables=[TableEntry("Ours " + NASTY, NASTY, pd.DataFrame({NASTY: [NASTY], "n": [1.234]}))],
                figures=[FigureEntry("Confusion " + NASTY, NASTY, drawing)],
                folded=[FigureEntry("Lungs", "", picture)],
                notes=[("Deviation", NASTY)],
            ),
        ],
        citations=[("Tabik 2020", "https://doi.org/10.1109/JBHI.2020.3037127"), ("Other", "")],
    )


@pytest.fixture(scope="module")
def text() -> str:
    return render(full_report())


def test_the_page_is_balanced_and_titled(text):
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    anchors = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert anchors == ids == ["section-1", "section-2"], "an empty section is left out"


def test_nothing_is_fetched_from_outside(text):
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("link", "script", "iframe")]
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    outside = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    assert outside == ["https://doi.org/10.1109/JBHI.2020.3037127"]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_figures_are_inline_with_alternative_text(text):
    images = Page(text).all("img")
    kinds = [image["src"].split(";")[0].removeprefix("data:image/") for image in images]
    assert kinds == ["svg+xml", "svg+xml", "webp"]
    assert base64.b64decode(images[0]["src"].split(",")[1]).lstrip().startswith(b"<?xml")
    assert base64.b64decode(images[2]["src"].split(",")[1]).startswith(b"RIFF")
    assert [image["alt"] for image in images] == ["Table V, drawn", f"Confusion {NASTY}. {NASTY}", "Lungs"]


def test_every_text_is_escaped(text):
    assert "<script" not in text
    assert Page(text).text.count(NASTY) >= 10


def test_what_the_reader_must_see(text):
    page = Page(text)
    assert page.text.count(DISCLAIMER) == 2
    assert page.text.index("PHANTOM DATA") < page.text.index("Data") < page.text.index("[1, 3]")
    assert re.search(r"1\s+reproduced", page.text)
    assert [mark["title"] for mark in page.all("abbr")] == [NASTY], "the doubt stands behind its mark"
    assert {"class": "v-reproduced"} in page.all("td")
    for shown in ("0.50", "–", "1.23"):
        assert shown in page.text


def test_the_same_report_gives_the_same_bytes_and_a_bare_one_is_a_page(text):
    assert render(full_report()) == text
    assert "<section" not in render(Report("Only a title"))


@pytest.mark.parametrize("kind", ["html", "md"])
def test_citations_must_be_web_addresses(kind):
    with pytest.raises(ValueError, match="javascript"):
        render(Report("A", citations=[("bad", "javascript:alert(1)")]), kind)


def test_the_size_stays_in_bounds_with_many_pictures(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
    pictures = [FigureEntry(str(i), "", picture_of(noise)) for i in range(4)]
    path = write_report(tmp_path / "report.html", Report("Pictures", sections=[Section("All", figures=pictures)]))
    assert path.stat().st_size < 1e6
    assert path.read_text(encoding="utf-8").endswith("</html>\n")


def test_pictures_are_webp_on_the_page_and_png_as_files_or_where_too_tall_for_webp(tmp_path):
    sides = {"wide": (4, 2), "tall": (1, WEBP_SIDE / PICTURE_DPI + 1)}
    figures = []
    for title, size in sides.items():
        figures.append(FigureEntry(title, "", picture_of(np.full((128, 128), 90, np.uint8))))
        figures[-1].figure.set_size_inches(size)
    report = Report("Pictures", sections=[Section("All", figures=figures)])
    kinds = [image["src"][:16] for image in Page(render(report)).all("img")]
    assert kinds == ["data:image/webp;", "data:image/png;b"]
    for path, size in zip(write_figures(tmp_path, report), sides.values(), strict=True):
        assert Image.open(path).size == tuple(int(PICTURE_DPI * side) for side in size), path.name


def test_an_unwritable_place_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", Report("A"))


def test_markdown_has_all_parts_of_a_section():
    cells = {("a", "x"): Cell("1", "2", "[1, 3]", Verdict(None, Outcome.REPRODUCED)), ("b", "x"): Cell("4", "5", "")}
    section = Section(
        "Title",
        "Text.",
        facts=[("Fact", "two\nlines")],
        against=[AgainstEntry(PaperTable("V", ("a", "b"), ("x",), cells, {"a": "3 images"}), "what", "Caption.")],
        tables=[TableEntry("Table", "Below.", pd.DataFrame({"k|l": ["v\nw"], "n": [1]}))],
        figures=[FigureEntry("Curve", "", Figure())],
        notes=[("Note", "text")],
        parts=[Section("Part", "Inner.")],
        details=[Section("Folded", "Hidden.")],
    )
    text = render(Report("Page", sections=[section], citations=[("Paper", "https://doi.org/1"), ("Other", "")]), "md")
    assert text == (
        f"# Page\n\n> {DISCLAIMER}\n\n## Title\n\nText.\n\n- **Fact**: two lines\n\n**Table V** what\n\n"
        "| system | tested on | x |\n| --- | --- | --- |\n| a | 3 images | 1 \\| 2 [1, 3] ✓ |\n| b |  | 4 \\| 5 |\n\n"
        "Caption.\n\n**Table**\n\n| k\\|l | n |\n| --- | --- |\n| v w | 1 |\n\nBelow.\n\n"
        "(Curve: drawn on the HTML page.)\n\n- **Note**: text\n\n### Part\n\nInner.\n\n"
        "<details><summary>Folded</summary>\n\nHidden.\n\n</details>\n\n- [Paper](https://doi.org/1)\n- Other\n"
    )
    section.figures = []
    page = Page(render(Report("Page", sections=[section])))
    assert all(word in page.text for word in ("3 images", "Caption.", "Inner.", "Hidden.", "Below."))
    assert len(page.all("details")) == 1
    assert fragment(Section("", "Text.")) == "Text.\n", "no page around it"
