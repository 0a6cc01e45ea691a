"""The suite's README: short, and what it prints runs."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from covid_keras import DISCLAIMER
from covid_keras.data import write_image
from covid_keras.data.phantom import phantom_image
from covid_keras.reporting.publish import PLACE, ROOT, readmes

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_page_is_short_and_needs_no_legend():
    (claims,) = (place[0] for place in PLACE.finditer(TEXT) if place["kind"] == "claims")
    assert len(TEXT.replace(claims, "").split()) <= 760
    assert not set("○⁼†‡§¶✓≈✗") & set(TEXT)
    assert DISCLAIMER.split(":")[1].strip() in " ".join(TEXT[:800].split())
    assert TEXT.index("make reproduce-tabik") < TEXT.index("| claim | paper |") < TEXT.index("judged so far")
    assert claims.count("\n| ") == 2 + 8


@pytest.mark.parametrize(
    "path", [*readmes(), ROOT / "papers" / "README.md"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_within_the_repository_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.slow
def test_the_code_of_the_first_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "chest.png", phantom_image(1, (200, 240), "normal", 0).image)
    mine = {"label": [0, 1] * 10, "score": np.linspace(0, 1, 20), "patient": range(20)}
    pd.DataFrame(mine).to_csv(tmp_path / "mine.csv", index=False)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(code.splitlines()) <= 12
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["stack"].shape[-1] == 3
    assert (tmp_path / "evaluation" / "evaluation.json").is_file()
    assert "Estimate" in capsys.readouterr().out
