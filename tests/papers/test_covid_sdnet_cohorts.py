"""COVID-SDNet's cohorts and profiles: what each trains on, and that `paper` is the paper's."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pandas as pd
import pytest
from papers.covid_sdnet.experiment import CROP_MARGIN, PAPER

from covid_keras.common.errors import UserError
from covid_keras.data.images import read_image
from covid_keras.data.sources import load_source
from covid_keras.paper.registered import load_paper
from papers.covid_sdnet.cohorts import CLASSES, PNEUMONIA, available, make_cohort, no_pneumonia

PROFILES = ("paper", "cpu", "smoke")
SYSTEMS = (
    *("covidnet_pretrained", "covidnet_retrained", "covid_caps_pretrained", "covid_caps_retrained"),
    *("resnet50_full", "resnet50_crop", "fucitnet", "covid_sdnet"),
    *("covidnet_retrained_no_normal_pcr", "covid_caps_retrained_no_normal_pcr", "resnet50_crop_no_normal_pcr"),
    *("fucitnet_no_normal_pcr", "covid_sdnet_no_normal_pcr"),
)


def _picture(path, seed: int, side: int = 40):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (side, side)).astype(np.uint8))


# --- profiles


def test_the_three_profiles_load_the_most_demanding_first():
    assert tuple(PAPER.profiles) == PROFILES
    for name in PROFILES:
        protocol = PAPER.protocol(name)
        assert (protocol.paper, protocol.profile) == ("covid_sdnet", name)
        assert protocol.systems == SYSTEMS
        assert protocol.tolerance == 2.0
    assert load_paper("tabik") is load_paper("covid_sdnet") is PAPER


def test_the_paper_profile_is_the_papers():
    protocol = PAPER.protocol("paper")
    assert (protocol.split.repeats, protocol.split.folds, protocol.split.validation) == (5, 5, 0.1)
    assert not protocol.split.leaky_as_published
    assert protocol.split.duplicates
    assert protocol.size == (224, 224)
    assert protocol.weights == "imagenet"
    assert protocol.comparable is True
    training = protocol.training
    assert (training.batch_size, training.epochs, training.patience) == (16, 50, 10)
    assert training.monitor == "val_accuracy"
    optimizer = training.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.momentum) == ("sgd", 1e-3, 0.9)
    assert optimizer.nesterov
    assert optimizer.decay == 1e-6
    augmentation = training.augmentation
    assert (augmentation.rotation, augmentation.shear, augmentation.flip) == (0, 0, False)
    assert (augmentation.shift, augmentation.zoom) == ((0, 0), (1, 1))
    assert protocol.options.get("batchnorm_momentum") is None, "keras.applications' own"


def test_systems_differ_in_the_crop_alone():
    protocol = PAPER.protocol("paper")
    full, crop = (PAPER.system(name) for name in ("resnet50_full", "resnet50_crop"))
    assert full.preparation(protocol).crop is None
    assert not full.preparation(protocol).needs_mask
    assert crop.preparation(protocol).crop == "lungs"
    assert crop.preparation(protocol).margin == CROP_MARGIN == 0.025
    assert full.preparation(protocol).size == crop.preparation(protocol).size == (224, 224)
    assert full.build is crop.build
    assert full.scaling is crop.scaling


def test_scaling_is_that_of_keras_resnet50():
    scaled = np.asarray(PAPER.system("resnet50_full").scaling(np.full((1, 2, 2, 3), 100.0, np.float32)))
    np.testing.assert_allclose(scaled[0, 0, 0], [100 - 103.939, 100 - 116.779, 100 - 123.68], atol=1e-4)


# --- what is at hand


def test_available_says_what_is_missing(tmp_path):
    paper, cpu, smoke = (PAPER.protocol(name) for name in PROFILES)
    assert available(paper, None) == available(cpu, None) == "no data folder"
    assert available(smoke, None) is None
    assert available(smoke, tmp_path) is None
    assert available(paper, tmp_path) == f"no COVIDGR-1.0 below {tmp_path}"
    assert available(cpu, tmp_path) == f"no COVID-19 Image Data Collection below {tmp_path}"
    (tmp_path / "COVIDGR-1.0" / "P").mkdir(parents=True)
    assert available(paper, tmp_path) is None


@pytest.mark.real
def test_available_on_real_data(real_data):
    assert available(PAPER.protocol("cpu"), real_data) is None


def test_without_covidgr_the_message_says_where_it_is(tmp_path):
    with pytest.raises(UserError, match=r"COVIDGR-1\.0 \(covidgr\).*github\.com/ari-dasci"):
        make_cohort(PAPER.protocol("paper"), tmp_path, tmp_path)


# --- phantom


SMALL = {"cohort": {"patients": 11, "pneumonia": 4, "size": 64}}


def _pixels(cohort) -> str:
    digest = hashlib.sha256()
    for path in cohort.table["path"]:
        digest.update(read_image(path).tobytes())
    return digest.hexdigest()


def test_the_phantom_is_the_same_wherever_it_is_made(tmp_path):
    protocol = PAPER.protocol("smoke", SMALL)
    first, again = (make_cohort(protocol, None, tmp_path / name) for name in ("one", "two"))
    assert first.fingerprint() == again.fingerprint()
    assert _pixels(first) == _pixels(again)
    other = make_cohort(PAPER.protocol("smoke", {"cohort": SMALL["cohort"] | {"seed": 8}}), None, tmp_path / "three")
    assert _pixels(other) != _pixels(first)


def test_the_phantom_has_its_classes_and_severities(tmp_path):
    cohort = make_cohort(PAPER.protocol("smoke", SMALL), None, tmp_path)
    assert cohort.classes == (*CLASSES, PNEUMONIA) == ("N", "P", "pneumonia")
    patients = cohort.table.drop_duplicates("patient_id")["label"].value_counts()
    assert patients.to_dict() == {"P": 6, "N": 5, "pneumonia": 4}
    positive = cohort.table["label"] == "P"
    assert set(cohort.table.loc[positive, "severity"]) <= {"Normal-PCR+", "Mild", "Moderate", "Severe"}
    assert (cohort.table.loc[~positive, "severity"] == "").all()
    assert read_image(cohort.table["path"][0]).shape == (64, 64)


def test_without_pneumonia_there_are_two_classes(tmp_path):
    two = {"cohort": SMALL["cohort"] | {"pneumonia": 0}}
    cohort = make_cohort(PAPER.protocol("smoke", two), None, tmp_path)
    assert cohort.classes == CLASSES
    assert set(cohort.table["label"]) == {"N", "P"}


def test_a_second_phantom_of_other_settings_fits_beside_the_first(tmp_path):
    """Two papers, or a protocol edited between two runs, share one cache."""
    make_cohort(PAPER.protocol("smoke", SMALL), None, tmp_path)
    changed = PAPER.protocol("smoke", {"cohort": SMALL["cohort"] | {"patients": 6}})
    assert len(make_cohort(changed, None, tmp_path).patients()) == 6 + 4
    make_cohort(changed, None, tmp_path)
    folders = [path.name for path in tmp_path.iterdir()]
    assert len(folders) == 2, "the same settings are made once"
    assert all(name.startswith("phantom-") for name in folders)


# --- COVIDGR


@pytest.fixture
def covidgr(tmp_path):
    """COVIDGR-1.0 in little, in a data folder."""
    folder = tmp_path / "COVIDGR-1.0"
    for i, name in enumerate(("N/a", "N/b", "P/c", "P/d", "P/e")):
        _picture(folder / f"{name}.jpg", i)
    (folder / "severity.csv").write_text("Name,Severity\nc,NORMAL-PCR+\nd,SEVERE\n")
    return tmp_path


def test_covidgr_is_taken_whole(covidgr, tmp_path):
    cohort = make_cohort(PAPER.protocol("paper"), tmp_path, tmp_path / "made")
    assert cohort.classes == CLASSES
    assert cohort.counts() == {"N": 2, "P": 3}
    assert list(cohort.table["severity"]) == ["", "", "Normal-PCR+", "Severe", ""]
    assert (cohort.table["view"] == "PA").all()


def test_pneumonia_is_added_to_covidgr_where_nih_is_at_hand(covidgr, tmp_path):
    for i, name in enumerate(
        ("Pneumonia/00000000", "Pneumonia/00000001", "Pneumonia/00000002", "No_findings/00000003")
    ):
        _picture(covidgr / "nih-chestxray14-subset" / f"{name}_000.jpg", 60 + i)
    cohort = make_cohort(PAPER.protocol("paper", {"cohort": {"pneumonia": 2}}), covidgr, tmp_path / "made")
    assert cohort.classes == (*CLASSES, PNEUMONIA)
    assert cohort.counts() == {"N": 2, "P": 3, "pneumonia": 2}
    assert list(cohort.table["severity"]) == ["", "", "Normal-PCR+", "Severe", "", "", ""]
    none = make_cohort(PAPER.protocol("paper", {"cohort": {"pneumonia": 0}}), covidgr, tmp_path / "made")
    assert none.classes == CLASSES
    # Too few for the row that wants them: the others need not wait, and that row says why it is left out.
    few = PAPER.protocol("paper")
    assert make_cohort(few, covidgr, tmp_path / "made").classes == CLASSES
    assert "has 3 pneumonia images" in no_pneumonia(few, covidgr)
    # More images than patients: further ones of patients who have one already.
    _picture(covidgr / "nih-chestxray14-subset" / "Pneumonia" / "00000001_001.jpg", 70)
    more = make_cohort(PAPER.protocol("paper", {"cohort": {"pneumonia": 4}}), covidgr, tmp_path / "made")
    assert more.counts()["pneumonia"] == 4
    assert len(more.patients()) == 5 + 3


# --- stand-in


def _stand_in(**counts: int):
    return PAPER.protocol("cpu", {"cohort": {"pneumonia": 1} | counts})


@pytest.fixture
def collections(tmp_path):
    """Two collections in little: 4 scored and 7 unscored frontal positives; 7 negatives of 5 patients."""
    cohen, rows, scores = tmp_path / "covid-chestxray-dataset", [], []
    for i in range(14):
        view = {10: "L", 11: "AP Supine"}.get(i, "PA")
        finding = "Pneumonia/Bacterial" if i >= 12 else "COVID-19"
        _picture(cohen / "images" / f"c{i:02d}.png", i)
        rows.append((f"{i}", finding, view, "X-ray", f"c{i:02d}.png"))
        if i in (0, 3, 6, 10, 11, 12):
            scores.append((f"c{i:02d}.png", (i % 9) * 0.9, 1.0))
    columns = ["patientid", "finding", "view", "modality", "filename"]
    pd.DataFrame(rows, columns=columns).to_csv(cohen / "metadata.csv", index=False)
    (cohen / "annotations").mkdir()
    pd.DataFrame(scores, columns=["filename", "geographic_mean", "opacity_mean"]).to_csv(
        cohen / "annotations" / "covid-severity-scores.csv", index=False
    )
    for i, (patient, visit) in enumerate([(1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (4, 5), (5, 0)]):
        _picture(tmp_path / "nih-chestxray14-subset" / "No_findings" / f"{patient:08d}_{visit:03d}.jpg", 50 + i)
    _picture(tmp_path / "nih-chestxray14-subset" / "Pneumonia" / "00000009_000.jpg", 99)
    return tmp_path


def test_the_stand_in_takes_all_scored_frontal_positives_first(collections, tmp_path):
    cohort = make_cohort(_stand_in(positives=6, negatives=5), collections, tmp_path)
    assert cohort.classes == (*CLASSES, PNEUMONIA)
    assert cohort.counts() == {"N": 5, "P": 6, "pneumonia": 1}
    positive = cohort.table[cohort.table["label"] == "P"]
    assert {"cohen/c00", "cohen/c03", "cohen/c06", "cohen/c11"} <= set(positive["image_id"])
    assert set(positive["view"]) <= {"PA", "AP Supine"}
    assert set(positive.loc[positive["extent"].notna(), "severity"]) <= {"Normal-PCR+", "Mild", "Moderate", "Severe"}
    negative = cohort.table[cohort.table["label"] == "N"]
    assert negative["patient_id"].is_unique
    assert set(negative["source"]) == {"chestxray14"}
    assert (negative["severity"] == "").all()


def test_the_choice_is_the_seeds(collections, tmp_path):
    def ids(seed: int) -> list[str]:
        cohort = make_cohort(_stand_in(positives=6, negatives=3, seed=seed), collections, tmp_path)
        return list(cohort.table["image_id"])

    assert ids(1) == ids(1)
    assert len({tuple(ids(seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"positives": 12, "negatives": 5}, "unscored COVID-19"),
        ({"positives": 6, "negatives": 6}, "asks for 6 NIH patients labelled No_findings, there are 5"),
        ({"positives": 6, "negatives": 5, "pneumonia": 2}, "asks for 2 NIH patients labelled Pneumonia, there are 1"),
    ],
)
def test_asking_for_more_than_there_is_names_the_counts(collections, tmp_path, counts, words):
    with pytest.raises(UserError, match=words):
        make_cohort(_stand_in(**counts), collections, tmp_path)


def test_asking_for_fewer_than_the_scored_says_so(collections, tmp_path):
    """All four scored ones belong in: three cannot be had, and that is what the message must say."""
    with pytest.raises(UserError, match="3") as caught:
        make_cohort(_stand_in(positives=3, negatives=5), collections, tmp_path)
    assert "-1" not in str(caught.value)
    assert "4" in str(caught.value)


@pytest.mark.real
def test_the_stand_in_of_real_radiographs(real_data, tmp_path):
    protocol = PAPER.protocol("cpu")
    cohort = make_cohort(protocol, real_data, tmp_path)
    assert cohort.counts() == {"N": 200, "P": 200, "pneumonia": 200}
    positive = cohort.table[cohort.table["label"] == "P"]
    assert (positive["extent"].notna()).sum() == 93
    cohen = load_source("cohen", real_data).table
    frontal = cohen["view"].isin(("PA", "AP", "AP Supine"))
    scored = cohen[frontal & (cohen["label"] == "COVID-19") & cohen["extent"].notna()]
    assert len(scored) == 93
    assert set(scored["image_id"]) <= set(positive["image_id"])
    negative = cohort.table[cohort.table["label"] == "N"]
    assert negative["patient_id"].is_unique
    assert set(negative["finding"]) == {"No_findings"}
    assert cohort.table.loc[cohort.table["label"] == PNEUMONIA, "patient_id"].is_unique
    assert (negative["severity"] == "").all()
    assert make_cohort(protocol, real_data, tmp_path).fingerprint() == cohort.fingerprint()
    changed = make_cohort(PAPER.protocol("cpu", {"cohort": {"seed": 1}}), real_data, tmp_path)
    assert changed.fingerprint() != cohort.fingerprint()
    assert set(scored["image_id"]) <= set(changed.table["image_id"])
    with pytest.raises(UserError, match="asks for 1000 NIH patients"):
        make_cohort(PAPER.protocol("cpu", {"cohort": {"negatives": 1000}}), real_data, tmp_path)
