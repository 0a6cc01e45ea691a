"""What the paper's README says of its results, checked against the files."""

from __future__ import annotations

from covid_keras.common.files import read_json
from covid_keras.data.splits import read_split
from covid_keras.evaluation import read_predictions
from covid_keras.paper.registered import load_paper
from covid_keras.training.lung_split import SPLIT


def test_how_many_positives_the_unet_was_trained_on():
    folder = load_paper("tabik").folder
    frame = read_predictions(folder / "results" / "cpu-predictions.csv")
    positives = set(frame.loc[frame["label"] == "P", "image_id"])
    split = read_split(SPLIT)
    seen = positives & set(split.loc[split["split"] == "train", "image_id"])
    text = (folder / "RESULTS.md").read_text(encoding="utf-8")
    assert f"{len(seen)} of the {len(positives)} images of cohen are in its" in text


def test_what_is_said_of_severities_holds_for_every_trained_network():
    paper = load_paper("tabik")
    assert "finds severe cases *less* often than mild ones" in (paper.folder / "README.md").read_text(encoding="utf-8")
    systems = read_json(paper.folder / "results" / "cpu.json")["systems"]
    trained = [name for name in systems if not paper.system(name).origin]
    assert len(trained) == 11
    for name in trained:
        metrics = systems[name]["metrics"]
        assert metrics["accuracy_Severe"]["mean"] < metrics["accuracy_Mild"]["mean"], name
