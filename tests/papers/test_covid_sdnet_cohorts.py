"""COVID-SDNet's cohorts and systems: what each trains on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import load_source
from papers.covid_sdnet.cohorts import CLASSES, PNEUMONIA, no_pneumonia
from papers.covid_sdnet.paper import PAPER
from tests.helpers.collections import make_cohen, make_covidgr, make_nih_subset
from tests.helpers.refusals import refused

THREE = (*CLASSES, PNEUMONIA)
LEVELS = {"Normal-PCR+", "Mild", "Moderate", "Severe"}
SYSTEMS = (
    *("covidnet_pretrained", "covidnet_retrained", "covid_caps_pretrained", "covid_caps_retrained"),
    *("resnet50_full", "resnet50_crop", "fucitnet", "covid_sdnet"),
    *("covidnet_retrained_no_normal_pcr", "covid_caps_retrained_no_normal_pcr", "resnet50_crop_no_normal_pcr"),
    *("fucitnet_no_normal_pcr", "covid_sdnet_no_normal_pcr"),
)


def _make(data: Path | None, profile: str, **changes) -> Cohort:
    """The cohort of a profile; what is made lies in the folder `made` of the data root."""
    return PAPER.cohort(PAPER.protocol(profile, {"cohort": changes}), data, (data or Path()) / "made")


# --- profiles


def test_every_row_of_the_tables_is_a_system():
    assert PAPER.protocol("paper").systems == PAPER.protocol("cpu").systems == SYSTEMS
    few = PAPER.protocol("smoke").systems
    assert set(few) < set(SYSTEMS)
    assert set(SYSTEMS[:8]) < set(few), "Tables VII and VIII repeat these"


def test_systems_differ_in_the_crop_alone():
    protocol = PAPER.protocol("paper")
    full, crop = (PAPER.system(name) for name in ("resnet50_full", "resnet50_crop"))
    assert type(full) is type(crop), "built and scaled alike"
    whole, cropped = full.preparation(protocol), crop.preparation(protocol)
    assert whole == replace(cropped, crop=None, margin=whole.margin)
    assert (whole.crop, cropped.crop, cropped.margin) == (None, "lungs", 0.025)
    assert cropped.size == (224, 224)


def test_scaling_is_that_of_keras_resnet50():
    scaled = np.asarray(PAPER.system("resnet50_full").scaling(np.full((1, 2, 2, 3), 100.0, np.float32)))
    np.testing.assert_allclose(scaled[0, 0, 0], [100 - 103.939, 100 - 116.779, 100 - 123.68], atol=1e-4)


# --- phantom


@pytest.mark.parametrize("pneumonia", [4, 0])
def test_the_phantom_has_its_classes_and_severities(tmp_path, pneumonia):
    cohort = _make(tmp_path, "smoke", patients=11, pneumonia=pneumonia, size=64)
    assert cohort.classes == (THREE if pneumonia else CLASSES)
    patients = cohort.table.drop_duplicates("patient_id")["label"].value_counts().to_dict()
    assert patients == {"P": 6, "N": 5} | ({"pneumonia": 4} if pneumonia else {})
    positive = cohort.table["label"] == "P"
    assert set(cohort.table.loc[positive, "severity"]) <= LEVELS
    assert (cohort.table.loc[~positive, "severity"] == "").all()


# --- COVIDGR


@pytest.fixture
def covidgr(tmp_path) -> Path:
    """A data folder with COVIDGR-1.0 in little, and NIH radiographs: 3 with pneumonia of 3 patients."""
    make_covidgr(tmp_path, ("N/a", "N/b", "P/c", "P/d", "P/e"), "c,NORMAL-PCR+", "d,SEVERE")
    return tmp_path


def test_covidgr_is_taken_whole(covidgr):
    cohort = _make(covidgr, "paper")
    assert cohort.classes == CLASSES
    assert cohort.counts() == {"N": 2, "P": 3}
    assert list(cohort.table["severity"]) == ["", "", "Normal-PCR+", "Severe", ""]
    assert (cohort.table["view"] == "PA").all()


def test_pneumonia_is_added_to_covidgr_where_nih_is_at_hand(covidgr):
    nih = make_nih_subset(covidgr, ("0_0", "1_0", "2_0"), ("3_0",))
    cohort = _make(covidgr, "paper", pneumonia=2)
    assert cohort.classes == THREE
    assert cohort.counts() == {"N": 2, "P": 3, "pneumonia": 2}
    assert list(cohort.table["severity"]) == ["", "", "Normal-PCR+", "Severe", "", "", ""]
    assert _make(covidgr, "paper", pneumonia=0).classes == CLASSES
    # Too few for the row that wants them: the others need not wait, and that row says why it is left out.
    assert _make(covidgr, "paper").classes == CLASSES
    assert "has 3 pneumonia images" in no_pneumonia(PAPER.protocol("paper"), covidgr)
    # More images than patients: further ones of patients who have one already.
    (nih / "Pneumonia" / "00000001_001.jpg").write_bytes((nih / "Pneumonia" / "00000001_000.jpg").read_bytes())
    more = _make(covidgr, "paper", pneumonia=4)
    assert more.counts()["pneumonia"] == 4
    assert len(more.patients()) == 5 + 3


# --- stand-in


@pytest.fixture(scope="module")
def collections(tmp_path_factory) -> Path:
    """Two collections in little: 4 scored and 7 unscored frontal positives; 7 negatives of 5 patients."""
    root = tmp_path_factory.mktemp("data")
    views = {10: "L", 11: "AP Supine"}
    findings = {12: "Pneumonia/Bacterial", 13: "Pneumonia/Bacterial"}
    cohen = make_cohen(root, [(i, findings.get(i, "COVID-19"), views.get(i, "PA")) for i in range(14)])
    scores = [(f"c{i}.png", (i % 9) * 0.9, 1.0) for i in (0, 3, 6, 10, 11, 12)]
    (cohen / "annotations").mkdir()
    pd.DataFrame(scores, columns=["filename", "geographic_mean", "opacity_mean"]).to_csv(
        cohen / "annotations" / "covid-severity-scores.csv", index=False
    )
    make_nih_subset(root, ("9_0",), ("1_0", "1_1", "2_0", "3_0", "4_0", "4_5", "5_0"))
    return root


def test_the_stand_in_takes_all_scored_frontal_positives_first(collections):
    cohort = _make(collections, "cpu", positives=6, negatives=5, pneumonia=1)
    assert cohort.classes == THREE
    assert cohort.counts() == {"N": 5, "P": 6, "pneumonia": 1}
    positive = cohort.table[cohort.table["label"] == "P"]
    assert {"cohen/c0", "cohen/c3", "cohen/c6", "cohen/c11"} <= set(positive["image_id"])
    assert set(positive["view"]) <= {"PA", "AP Supine"}
    assert set(positive.loc[positive["extent"].notna(), "severity"]) <= LEVELS
    negative = cohort.table[cohort.table["label"] == "N"]
    assert negative["patient_id"].is_unique
    assert set(negative["source"]) == {"chestxray14"}
    assert (negative["severity"] == "").all()


def test_the_choice_is_the_seeds(collections):
    found = [_make(collections, "cpu", positives=6, negatives=3, pneumonia=1, seed=seed) for seed in (0, 1, 2, 3, 4, 1)]
    ids = [tuple(cohort.table["image_id"]) for cohort in found]
    assert ids[1] == ids[5]
    assert len(set(ids)) > 1


@pytest.mark.parametrize(
    ("positives", "negatives", "pneumonia", "words"),
    [
        (12, 5, 1, "unscored COVID-19"),
        (6, 6, 1, "6 NIH patients labelled No_findings, but there are 5"),
        (6, 5, 2, "2 NIH patients labelled Pneumonia, but there are 1"),
        (3, 5, 1, "3 positives, fewer than the 4 that have a score"),
    ],
)
def test_counts_that_cannot_be_had_are_named(collections, positives, negatives, pneumonia, words):
    refused(words, _make, collections, "cpu", positives=positives, negatives=negatives, pneumonia=pneumonia)


@pytest.mark.real
def test_the_stand_in_of_real_radiographs(real_data, tmp_path):
    cohort = PAPER.cohort(PAPER.protocol("cpu"), real_data, tmp_path)
    assert cohort.counts() == {"N": 200, "P": 200, "pneumonia": 200}
    parts = dict(iter(cohort.table.groupby("label")))
    assert parts["P"]["extent"].notna().sum() == 93
    cohen = load_source("cohen", real_data).table
    frontal = cohen["view"].isin(("PA", "AP", "AP Supine"))
    scored = set(cohen.loc[frontal & (cohen["label"] == "COVID-19") & cohen["extent"].notna(), "image_id"])
    assert len(scored) == 93
    assert scored <= set(parts["P"]["image_id"])
    assert parts["N"]["patient_id"].is_unique
    assert parts[PNEUMONIA]["patient_id"].is_unique
    assert set(parts["N"]["finding"]) == {"No_findings"}
    assert (parts["N"]["severity"] == "").all()
    changed = PAPER.cohort(PAPER.protocol("cpu", {"cohort": {"seed": 1}}), real_data, tmp_path)
    assert changed.fingerprint() != cohort.fingerprint()
    assert scored <= set(changed.table["image_id"])
    refused(
        "1000 NIH patients", PAPER.cohort, PAPER.protocol("cpu", {"cohort": {"negatives": 1000}}), real_data, tmp_path
    )
