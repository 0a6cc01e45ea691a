"""A comparison of methods has no printed numbers: its own sections lead its pages, set against no paper."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure

from covid_keras.commands.audit import files_of
from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.reporting import overview, publish, results
from covid_keras.reporting.document import FigureEntry, Section, TableEntry
from covid_keras.reporting.overview import overview_report
from covid_keras.reporting.renderer import render
from covid_keras.reporting.results import PaperReport, Results
from covid_keras.reporting.run import report_run


class Comparing(PaperReport):
    """A report of one table, of either kind of results."""

    def sections(self, found: Results) -> list[Section]:
        rows = pd.DataFrame({"system": list(found.systems), "images": [len(found.predictions_of("a"))] * 2})
        return [Section("Who is better", tables=[TableEntry("Systems", "", rows)])]

    def summary(self, found: Results) -> Section:
        figure = FigureEntry("Drawn", "", Figure(), "tiny.svg")
        return Section("In short", f"{len(found.systems)} systems were compared.", figures=[figure])


@pytest.fixture
def compared(made, monkeypatch):
    """A finished run of a comparison."""
    made.published.unlink()
    for module in (results, overview):
        monkeypatch.setattr(module, "report_of", lambda paper: Comparing(pairs=()))
    return made.finished(systems=["a", "b"])


def test_the_report_of_a_run_leads_with_its_own_sections(compared):
    page = report_run(compared.path, heatmaps=False).read_text()
    assert page.index("Who is better") < page.index("What was trained")
    assert "paper against ours" not in page.lower()
    assert "Audit" not in page
    assert not list(compared.path.glob("comparison.*"))
    assert (compared.path / "metrics.json").is_file()


def test_its_published_page_and_what_the_overview_shows(compared, made, tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "setup.cfg").touch()
    (checkout / "README.md").write_text("Nothing to fill.\n")
    for name in ("ROOT", "FOLDER"):
        monkeypatch.setattr(publish, name, checkout)
    monkeypatch.setattr(publish, "_own_papers", lambda: [made.paper])
    monkeypatch.setattr(publish, "readmes", list)
    assert main(["publish", str(compared.path)]) == 0
    page = (made.paper.folder / publish.PAGE).read_text()
    assert page.startswith("# Tiny\n")
    assert "Who is better" in page
    overview_page = (checkout / publish.OVERVIEW).read_text()
    assert "2 systems were compared." in overview_page
    assert "![Drawn](tiny.svg)" in overview_page
    assert (checkout / "papers" / "tiny.svg").read_text().startswith("<?xml")
    before = (made.paper.folder / "results" / "smoke.json").read_bytes()
    assert main(["publish"]) == 0
    assert (made.paper.folder / "results" / "smoke.json").read_bytes() == before
    assert "2 systems were compared." in render(overview_report([made.paper]), "html")


def test_its_numbers_cannot_be_audited(compared):
    with pytest.raises(UserError, match="no printed numbers"):
        files_of("tiny")
