"""The report page: self-contained, escaped, balanced, repeatable."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from covid_keras import DISCLAIMER
from covid_keras.common.errors import UserError
from covid_keras.reporting import (
    FigureEntry,
    Report,
    Section,
    TableEntry,
    confusion_figure,
    lung_overlay,
    render_report,
    write_report,
)
from covid_keras.reporting.page import _comparison_figures

VOID = {"meta", "img", "br", "link", "input", "hr"}
NASTY = '<script>alert("x")</script> & \'"'


class Page(HTMLParser):
    """Checks that tags close in order; keeps text, attributes and tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def comparison(outcome: str = "reproduced", reason: str = "") -> pd.DataFrame:
    row = {
        "table": "V",
        "row": "Crop " + NASTY,
        "column": "Accuracy",
        "paper": 76.18,
        "paper_std": 2.7,
        "ours": 75.0,
        "ours_std": 2.0,
        "low": 72.0,
        "high": 78.0,
        "difference": -1.18,
        "tolerance": 2.0,
        "verdict": "",
        "grade": "",
        "outcome": outcome,
        "reason": reason,
        "doubt": "",
        "executions": 25,
        "target": 76.18,
        "unit": "percent",
        "system": "crop",
        "metric": "accuracy",
        "paper_low": np.nan,
        "paper_high": np.nan,
        "paper_text": "",
    }
    empty = {
        "ours": np.nan,
        "ours_std": np.nan,
        "low": np.nan,
        "high": np.nan,
        "difference": np.nan,
        "outcome": "",
        "reason": "not run",
        "executions": 0,
    }
    return pd.DataFrame([row, {**row, **empty, "row": "Other"}, {**row, **empty, "table": "VII", "doubt": "Odd."}])


def full_report(**more) -> Report:
    drawing = confusion_figure(np.eye(2, dtype=int), ["negative", "positive"])
    picture = lung_overlay(np.full((128, 128), 90, np.uint8), np.eye(128))
    return Report(
        **{
            "title": "A paper " + NASTY,
            "subtitle": NASTY,
            "comparison": comparison(),
            "banner": "PHANTOM DATA " + NASTY,
            "facts": [("Data", NASTY), ("Executions", 25), ("Nothing", None), ("Share", 0.5)],
            "table_titles": {"V": NASTY},
            "comparison_figures": [FigureEntry("Table V, drawn", "", drawing)],
            "tables": [TableEntry("Ours " + NASTY, NASTY, pd.DataFrame({NASTY: [NASTY], "n": [1.234]}))],
            "figures": [FigureEntry("Confusion " + NASTY, NASTY, drawing), ("Lungs", "", picture)],
            "sections": [
                Section("Training", f"First {NASTY}.\n\nSecond.", figures=[FigureEntry("Again", "", drawing)])
            ],
            "notes": [("Deviation", NASTY)],
            "citations": [("Tabik 2020", "https://doi.org/10.1109/JBHI.2020.3037127")],
            "provenance": {"versions": {"keras": "3.15.1"}, "seeds": [1, 2], "rate": 0.001, "gpu": None},
            **more,
        }
    )


@pytest.fixture(scope="module")
def page_text() -> str:
    return render_report(full_report())


def test_the_page_is_balanced_and_titled(page_text):
    page = Page(page_text)
    assert page_text.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")}
    assert anchors == set(ids)


def test_nothing_is_fetched_from_outside(page_text):
    page = Page(page_text)
    assert not page.all("link")
    assert not page.all("script")
    assert not page.all("iframe")
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    outside = [link for link in page.all("a") if not link["href"].startswith("#")]
    assert [link["href"] for link in outside] == ["https://doi.org/10.1109/JBHI.2020.3037127"]
    style = re.search(r"<style>(.*?)</style>", page_text, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_figures_are_inline_with_alternative_text(page_text):
    images = Page(page_text).all("img")
    kinds = [image["src"].split(";")[0] for image in images]
    assert kinds == ["data:image/svg+xml", "data:image/svg+xml", "data:image/png", "data:image/svg+xml"]
    assert base64.b64decode(images[0]["src"].split(",")[1]).lstrip().startswith(b"<?xml")
    assert base64.b64decode(images[2]["src"].split(",")[1]).startswith(b"\x89PNG")
    assert images[0]["alt"] == "Table V, drawn"
    assert images[1]["alt"] == f"Confusion {NASTY}. {NASTY}"
    assert all(image["alt"] for image in images)


def test_every_text_is_escaped(page_text):
    assert "<script" not in page_text
    assert Page(page_text).text.count(NASTY) >= 10


def test_what_the_reader_must_see(page_text):
    page = Page(page_text)
    assert page.text.count(DISCLAIMER) == 2
    assert page.text.index("PHANTOM DATA") < page.text.index("Data") < page.text.index("76.18 ± 2.70")
    assert re.search(r"1\s+reproduced", page.text)
    assert "2 published numbers for which this run has none" in page.text
    assert "[72.00, 78.00]" in page.text
    assert "−1.18 (±2.00)" in page.text
    assert "Published tables not measured in this run (1)" in page.text
    assert "Doubtful numbers in the paper (1)" in page.text
    for text in ("versions.keras", "3.15.1", "1, 2", "0.001", "0.50"):
        assert text in page.text


def test_not_comparable_says_why_and_still_shows_the_number():
    page = Page(render_report(Report("A", comparison=comparison("not comparable (synthetic images)"))))
    assert "○ not comparable: synthetic images." in page.text
    assert "75.00 ○" in page.text


def test_what_the_papers_text_has_lost_is_said_in_its_place_and_not_drawn():
    frame = comparison("not comparable (not published in the text)").head(1)
    frame = frame.assign(paper=np.nan, paper_std=np.nan, target=np.nan, difference=np.nan)
    frame = frame.assign(paper_text="not published in the text")
    text = Page(render_report(full_report(comparison=frame))).text
    assert "not published in the text75.00" in re.sub(r"\s*\n\s*", "", text)
    assert not re.search(r"\bnan\b", text)
    both = pd.concat([frame, comparison().assign(table="VI")])
    drawn = _comparison_figures(SimpleNamespace(comparison=both))
    assert [entry.title for entry in drawn] == ["Table VI, drawn"]


def test_a_report_of_almost_nothing_and_of_nothing_measured():
    assert "Provenance" not in Page(render_report(Report("Only a title"))).text
    nothing = Page(render_report(Report("A", comparison=comparison()[1:]))).text
    assert "Nothing of this paper's tables was measured" in nothing


def test_the_same_report_gives_the_same_bytes(page_text):
    assert render_report(full_report()) == page_text


def test_citations_must_be_web_addresses():
    with pytest.raises(ValueError, match="not http"):
        render_report(Report("A", citations=[("bad", "javascript:alert(1)")]))


def test_the_size_stays_in_bounds_with_many_pictures(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
    pictures = [FigureEntry(str(i), "", lung_overlay(noise, np.ones_like(noise))) for i in range(4)]
    path = write_report(tmp_path / "report.html", Report("Pictures", figures=pictures))
    assert path.stat().st_size < 6e6
    assert path.read_text(encoding="utf-8").endswith("</html>\n")


def test_an_unwritable_place_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", Report("A", figures=[("empty", "", Figure())]))
