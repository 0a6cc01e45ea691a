"""`covid-keras audit`: what it refuses before it writes anything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import papers
from covid_keras.commands.main import main

EXAMPLE = Path(papers.__file__).parent / "example_audit.yaml"


@pytest.mark.parametrize("given", ["table.json", "folder"])
def test_what_is_neither_paper_nor_yaml_is_named(tmp_path, monkeypatch, capsys, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert main(["audit", given]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"covid-keras: error: {given}: is neither a paper of this suite nor a file that ends in .yaml or .yml. "
        "Name a file such as papers/example_audit.yaml.\n"
    )


def test_a_folder_of_the_same_name_does_not_hide_a_paper(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hertel").mkdir()
    assert main(["audit", "hertel"]) == 0
    assert capsys.readouterr().out.startswith("hertel_ensemble: 230 printed cells: ")


def test_the_audited_file_is_not_overwritten(tmp_path, monkeypatch, capsys):
    shutil.copy(EXAMPLE, tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    before = EXAMPLE.read_bytes()
    assert main(["audit", str(tmp_path / "mine.yaml"), "--out", "mine.yaml"]) == 2
    assert "is the file that is audited" in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").read_bytes() == before
