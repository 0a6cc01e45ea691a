"""The suite's own page: it says what the committed results say, of every paper, system and cohort."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from covid_keras import DISCLAIMER
from covid_keras.commands.main import main
from covid_keras.common.files import read_json, write_json
from covid_keras.common.settings import as_plain
from covid_keras.evaluation import load_published
from covid_keras.paper.claims import claims_of
from covid_keras.paper.paper import Paper
from covid_keras.paper.registered import load_paper, load_papers
from covid_keras.published.cells import LOST_TEXT
from covid_keras.reporting import entries as reading_entries
from covid_keras.reporting import overview, publish
from covid_keras.reporting import results as reading
from covid_keras.reporting.audits import audit_counts, audit_section
from covid_keras.reporting.document import Report, Section
from covid_keras.reporting.entries import Entry, device_words, in_percent, judged_of
from covid_keras.reporting.figures import headline_figure
from covid_keras.reporting.overview import overview_report
from covid_keras.reporting.paper_page import Reason, paper_report, reasons_of
from covid_keras.reporting.prose import notes
from covid_keras.reporting.publish import OVERVIEW, PAGE, ROOT
from covid_keras.reporting.readme import results_markdown
from covid_keras.reporting.renderer import fragment, render
from covid_keras.reporting.sources import committed_profiles
from tests.helpers.pages import Page

TABIK = "covid_sdnet"


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    return {name: Entry.of(paper) for name, paper in load_papers().items() if paper.published_path}


@pytest.fixture(scope="module")
def report() -> Report:
    return overview_report(load_papers().values())


@pytest.fixture(scope="module")
def page(report) -> str:
    return render(report)


def overview_markdown(papers, whole: bool = True) -> str:
    """The page as Markdown; without `whole`, as it is committed."""
    return render(overview_report(papers, whole), "md")


def section(report: Report, title: str) -> Section:
    return next(one for one in report.sections if one.title == title)


def audited_by(monkeypatch, table: pd.DataFrame) -> None:
    """Let a table be what the audit says of any paper."""
    for module in (reading_entries, reading):
        monkeypatch.setattr(module, "audit_of", lambda paper: table)


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Paper:
    """Tabik et al. with files of their own, which a test may change; the audit is that of the committed file."""
    paper = load_paper(TABIK)
    audited_by(monkeypatch, reading.audit_of(paper))
    for name in ("published.yaml", "protocol.yaml", "results/cpu.json", "results/cpu-predictions.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(paper.folder / name, tmp_path / name)
    return dataclasses.replace(paper, folder=tmp_path)


def edited(path: Path, target: Path | None = None, **provenance) -> dict:
    """Change the provenance of committed results (or of a copy of them)."""
    value = read_json(path)
    value["provenance"] |= provenance
    write_json(target or path, value)
    return value


# --- the repository as it is


@pytest.mark.slow
def test_the_committed_pages_are_made_of_the_committed_results(entries):
    made = {ROOT / OVERVIEW: overview_markdown(load_papers().values(), whole=False)}
    first = made[ROOT / OVERVIEW].splitlines()[:60]
    assert {"What holds here", "What does not hold here", "What nobody can know"} <= {
        line.strip("# ").split(" (")[0] for line in first
    }
    made |= {entry.paper.folder / PAGE: render(paper_report(entry), "md") for entry in entries.values()}
    for path, text in made.items():
        assert path.read_bytes().decode() == text, f"{path} and papers/*/results disagree: run `covid-keras publish`"


@pytest.mark.slow
def test_every_published_number_is_counted_once(entries):
    for entry in entries.values():
        cells = load_published(entry.paper.folder / "published.yaml")
        assert entry.states.sum() == len(cells)
        assert entry.states[LOST_TEXT] == sum(cell.lost for cell in cells)


def test_every_paper_profile_and_system_has_its_place(entries, report):
    text = render(report, "md")
    for entry in entries.values():
        assert f"\n## {entry.name}\n" in text
        for found in entry.results:
            assert f"| {entry.name} | {found.profile} | {found.provenance['executions']} |" in text
            assert found.provenance["cohort_fingerprint"] in text
            assert all(f"| {title.replace('|', chr(92) + '|')} |" in text for title in found.titles.values())


def test_the_page_is_self_contained(page):
    parsed = Page(page)
    assert all(image["src"].startswith("data:") for image in parsed.all("img"))
    assert not parsed.all("script")
    assert not parsed.all("link")
    assert {link["href"] for link in parsed.all("a") if not link["href"].startswith("#")} == {
        f"https://doi.org/{paper.doi}" for paper in load_papers().values() if paper.published_path
    }
    assert parsed.text.count(DISCLAIMER) == 2


@pytest.mark.parametrize("checkout", [True, False])
def test_the_command_says_where_both_are(copied, tmp_path, monkeypatch, capsys, checkout):
    monkeypatch.setattr(publish, "load_papers", lambda: {"tabik": copied})
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    written = [tmp_path / "out" / "page.html"]
    if checkout:
        (tmp_path / "setup.cfg").touch()
        written.append(tmp_path / OVERVIEW)
    assert main(["results", "--out", str(written[0])]) == 0
    assert capsys.readouterr().out == f"Output: {' and '.join(map(str, written))}\n"
    assert (tmp_path / OVERVIEW).is_file() == checkout
    assert "Tabik et al. 2020" in written[0].read_text(encoding="utf-8")


def test_publishing_writes_the_papers_of_the_checkout_alone(copied, tmp_path, monkeypatch):
    elsewhere = dataclasses.replace(load_paper("haghanifar"), name="elsewhere")
    bare = dataclasses.replace(copied, name="bare", folder=tmp_path / "bare")
    monkeypatch.setattr(publish, "load_papers", lambda: {p.name: p for p in (copied, elsewhere, bare)})
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "readmes", list)
    (tmp_path / "setup.cfg").touch()
    assert publish.refresh_readmes() == tmp_path
    assert (tmp_path / OVERVIEW).read_text(encoding="utf-8") == overview_markdown([copied], whole=False)
    assert (copied.folder / PAGE).read_text(encoding="utf-8") == render(paper_report(Entry.of(copied)), "md")
    monkeypatch.setattr(publish, "load_papers", lambda: {"elsewhere": elsewhere, "bare": bare})
    assert publish.refresh_overview() == []


def test_an_excerpt_shows_the_papers_own_systems():
    # Tables IV and V both hold the three metrics, and the paper's own network stands in the second.
    text = results_markdown(load_paper(TABIK), "cpu")
    assert text.startswith("**Table V, percent: COVID-SDNet against other methods on COVIDGR-1.0**\n")
    assert "| COVID-SDNet | Accuracy | 76.18" in text


# --- what it says follows the files


@pytest.mark.slow
def test_one_other_number_makes_another_text(copied):
    before = overview_markdown([copied])
    numbers = "## Judged numbers"  # the copy has no claims
    assert before.split(numbers)[1] == overview_markdown([load_paper(TABIK)]).split(numbers)[1]
    path = copied.folder / "results" / "cpu.json"
    value = read_json(path)
    metric = value["systems"]["covid_sdnet"]["metrics"]["accuracy"]
    old, metric["mean"] = metric["mean"], 12.345678
    write_json(path, value)
    after = overview_markdown([copied])
    assert before != after
    spread = f" ± {metric['std']:.2f} ["
    made = before.replace(f"| {old:.2f} [", "| 12.35 [").replace(f"| {old:.2f}{spread}", f"| 12.35{spread}")
    assert made == after
    page = render(overview_report([copied]))
    assert "12.35" in page
    assert page == render(overview_report([copied]))


def test_a_paper_without_results_is_named_as_such(copied):
    shutil.rmtree(copied.folder / "results")
    report = overview_report([copied])
    text = render(report, "md")
    assert "No results are committed yet for its 13 systems." in text
    assert "| Tabik et al. 2020 | 197 | 0 | 0 | 0 | 0 | 104 | 93 | 0 | 0 |" in text
    assert "- **93 cells: no counterpart**: Tables I, II, III, VI (as printed); Running text, " in text
    assert "- **104 cells: not run**: COVIDNet-CXR (pretrained); " in text
    assert not any(one.figures or one.folded for one in report.sections)
    Page(render(report))


@pytest.mark.slow
def test_two_profiles_stand_beside_each_other_and_a_cell_counts_once(copied):
    folder = copied.folder / "results"
    protocol = copied.protocol("paper")
    sources = {name: {"covidgr": 700 if name.endswith("normal_pcr") else 852} for name in protocol.systems}
    classes = {name: copied.evidence_of(name).classes for name in protocol.systems}
    facts = {"protocol": yaml.safe_dump(as_plain(protocol)), "sources": sources, "classes": classes, "other_files": {}}
    edited(folder / "cpu.json", folder / "paper.json", profile="paper", training_hours=100, **facts)
    report = overview_report([copied])
    text = render(report, "md")
    assert [part.title for part in section(report, "Tabik et al. 2020").parts][:2] == ["Profile paper", "Profile cpu"]
    states = Entry.of(copied).states
    assert states.sum() == 197
    # All that cpu shows is judged in the other, apart from the surrogates, of 5, 7 and 7 cells, and what is no target.
    frame = Entry.of(copied).comparisons[0]
    no_target = frame["reason"].str.match("(impossible|not) as printed: ")
    assert frame.loc[no_target, "audit"].isin(["impossible", "explained"]).all()
    assert frame.loc[no_target, "ours"].notna().all()
    assert no_target.sum() == 1
    assert states["not comparable"] == 19 + 1
    assert states[["reproduced", "within interval", "not reproduced"]].sum() == 99 - 19 - 1
    assert all(states[["reproduced", "within interval", "not reproduced"]] > 0)
    assert text.split("### Profile paper")[1].count("surrogate network") > 0
    assert "✗" in text.split("### Profile paper")[1].split("### Profile cpu")[0].split("<details>")[0]
    (judged,) = judged_of([Entry.of(copied)]).tables
    assert len(judged.frame) == 99 - 19 - 1
    assert "profile" not in judged.frame
    assert set(judged.frame["outcome"].str[0]) == set("✓≈✗")


def test_every_cell_without_a_verdict_has_its_reason(entries):
    for entry in entries.values():
        for found, frame in zip(entry.results, entry.comparisons, strict=False):
            judged = frame["outcome"] != ""
            assert sum(reason.cells for reason in reasons_of(entry.paper, found, frame)) == len(frame) - judged.sum()
    tabik = entries[TABIK]
    reasons = reasons_of(tabik.paper, tabik.results[0], tabik.comparisons[0])
    assert Reason("not run", 5, "checkpoint not obtainable", "COVIDNet-CXR (pretrained)") in reasons
    assert [reason.cells for reason in reasons] == [99, 5, 93]


def test_what_leads_each_page(entries, report):
    claims, compared, *others = [one.title for one in report.sections]
    assert claims == "What the papers claim, and what holds"
    assert compared.startswith("Head to head")
    assert others[:3] == ["Judged numbers", "What it cost", "All published numbers"]
    for entry in entries.values():
        page = paper_report(entry)
        assert [one.title for one in page.sections][:3] == ["What the paper claims", "Judged numbers", "What it cost"]
        claims = [*page.sections[0].claims, *(one for part in page.sections[0].details for one in part.claims)]
        assert {one.statement for one in claims} == {one.statement for one in claims_of(entry.paper).values()}
        for table in (table for one in page.sections for table in one.against):
            assert table.table.judged, "what is not judged is folded"


def test_gpus_are_named():
    cpu = {"cores": 2, "device": {"gpus": [], "tpus": 0}}
    assert device_words({"trained_on": cpu}) == "2 CPU cores"
    assert device_words({"trained_on": cpu | {"device": {"gpus": ["H200"], "tpus": 0}}}) == "H200"


def test_the_figure_names_each_system_once_and_has_the_papers_own_bar(report):
    (entry,) = section(report, "All published numbers").folded
    panels = overview._headline_panels([Entry.of(load_paper(TABIK))])
    (rows,) = panels.values()
    assert rows["system"].is_unique
    figure = headline_figure(panels, "Accuracy", "accuracy (%)")
    (axes,) = figure.axes
    assert len(axes.get_yticklabels()) == len(rows) == 12
    # The pretrained COVID-CAPS has an impossible accuracy, and another target; Table VII's five are explained.
    assert list(rows["refuted"]) == [False] * 7 + [True] * 5
    assert [text.get_text().split()[0] for text in figure.legends[0].get_texts()] == ["paper", "paper,", "ours"]
    committed = [
        read_json(one.folder / "results" / f"{profile}.json")["systems"].values()
        for one in load_papers().values()
        if one.published_path
        for profile in committed_profiles(one)
    ]
    with_accuracy = [systems for systems in committed if any("accuracy" in found["metrics"] for found in systems)]
    assert len(entry.figure.axes) == len(with_accuracy)
    for nothing in ({}, {"empty": rows[:0]}):
        with pytest.raises(ValueError, match="no number"):
            headline_figure(nothing, "", "")


def test_ratios_become_percent_without_dust():
    values = {name: [0.9715, 3.0] for name in reading_entries._VALUES}
    frame = in_percent(pd.DataFrame({"unit": ["ratio", "percent"], **values}))
    assert frame["paper"].tolist() == [97.15, 3.0]
    assert set(frame["unit"]) == {"percent"}


# --- the audit, beside the cells


@pytest.fixture
def found(monkeypatch) -> pd.DataFrame:
    table = {"table": ["V"] * 3, "row": ["COVIDNet-CXR (retrained A)"] * 3}
    table |= {"column": ["N Precision", "N F1", "Accuracy"], "audit_reason": ""}
    table |= {"audit": ["impossible", "impossible", "consistent"]}
    table |= {"printed": ["3.36 ± 6.15", "73.31", "67.82"]}
    return pd.DataFrame(table | {"proof": ["2 is not 3.", "2 is not 3.", "Fits."], "rules": ["made"] * 3})


def test_what_the_audit_says_stands_beside_the_cell(copied, found, monkeypatch):
    audited_by(monkeypatch, found)
    text = overview_markdown([copied])
    assert "| 3.36 ± 6.15†‡ \\| 70.46 [64.50, 76.63] ○ |" in text
    assert "67.82 ± 6.11⁼ \\|" in text
    assert "| Tabik et al. 2020 | 2 | 0 | 1 | 0 |" in text
    parsed = Page(render(overview_report([copied])))
    assert {"class": "audit", "title": "impossible: 2 is not 3."} in parsed.all("abbr")
    assert {"class": "audit", "title": "consistent"} in parsed.all("abbr")


def test_cells_with_one_proof_are_one_finding(found):
    section = audit_section(found)
    assert section.text == "3 published numbers: 2 ‡ impossible, 0 § explained, 1 ⁼ consistent, 0 cannot be checked."
    wrong, right = section.details
    assert wrong.title == "‡ impossible, with proofs (2 cells)"
    row = "COVIDNet-CXR (retrained A)"
    assert wrong.notes == [(f"Table V: {row}, N Precision = 3.36 ± 6.15, N F1 = 73.31", "2 is not 3. [made]")]
    assert right.title == "⁼ consistent, with what was computed (1 cell)"
    assert right.notes == [(f"Table V: {row}, Accuracy = 67.82", "Fits. [made]")]


def test_what_cannot_be_checked_is_named_with_its_reason(found):
    lost = found.iloc[:1].assign(
        printed=LOST_TEXT, audit="cannot be checked", audit_reason=LOST_TEXT, proof="", rules="", column="N F1"
    )
    text = found.iloc[:1].assign(audit="cannot be checked", audit_reason="a word", printed="Yes", rules="", proof="")
    table = pd.concat([text, lost, found.iloc[2:].assign(rules="grim, runs")])
    *_, unchecked, rules = audit_section(table).details
    assert unchecked.title == "Cannot be checked, with reasons (2 cells)"
    row = "COVIDNet-CXR (retrained A)"
    assert unchecked.notes == [
        ("Table V: A word.", f"{row}, N Precision = Yes"),
        ("Table V: Not published in the text.", f"{row}, N F1"),
    ]
    assert [name for name, _ in rules.notes] == ["grim", "runs"]
    made = fragment(audit_section(table))
    assert f"\n- **Table V: {row}, Accuracy = 67.82**: Fits. [grim, runs]\n" in made
    assert made.count("<details>") == made.count("</details>") == 3


def test_every_cell_of_every_paper_stands_with_its_verdict(entries):
    for entry in entries.values():
        table = entry.audit
        section = audit_section(table)
        text = "\n".join(" ".join(note) for part in section.details for note in part.notes)
        for one in table.itertuples():
            place = f" = {one.printed}" if one.column == "printed" else f"{one.column} = {one.printed}"
            assert (one.column if one.printed == LOST_TEXT else place) in text
        counts = [re.search(r"\((\d+) cells?\)$", part.title) for part in section.details]
        assert sum(int(count[1]) for count in counts if count) == len(table) == entry.states.sum()
        assert audit_counts(table)["‡ impossible"] > 0


def test_every_rule_that_speaks_is_explained(entries):
    used = {rule for entry in entries.values() for names in entry.audit["rules"] for rule in names.split(", ")}
    explained = {title for title, _ in notes("covid_keras.reporting", "audit.md", "rules")}
    assert {rule.replace("_", " ") for rule in used - {""}} <= explained


def test_signs_are_explained_below_the_tables(report, page):
    entry = next(
        entry
        for one in report.sections
        for part in one.parts
        for entry in [*part.against, *(entry for folded in part.details for entry in folded.against)]
    )
    signs = {char for cell in entry.table.cells.values() for char in str(cell) if char in "†‡§⁼○"}
    assert len(signs) > 3
    assert all(sign in entry.caption for sign in signs)
    assert "no sign: cannot be checked" in page
    assert "`" not in Page(page).text


def test_a_wide_table_of_the_paper_is_set_in_narrow_columns(report):
    parts = [part for section in report.sections for part in section.parts]
    found = {
        (entry.table.name, len(entry.table.columns)): entry.brief
        for part in parts
        for folded in part.details
        for entry in folded.against
    }
    assert not found["V", 7]
    assert found["IV", 5]
    # Rows of others' work have no number of ours, nor a reason for that.
    assert found["7", 6]


def test_a_segmenter_has_the_name_of_the_papers_row(entries, report):
    assert entries["arias_vgg19"].results[0].titles["unet1"] == "U-Net 1"
    text = render(report, "md")
    assert not re.search(r"(?<!\d)0 cells: not run", text)
    assert "Published: as computed by the authors' code" in text
