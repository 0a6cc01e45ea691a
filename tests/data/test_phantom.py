"""The phantom: deterministic, true to its truth, learnable where there is something to see and nowhere else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from covid_keras.common.errors import UserError
from covid_keras.data import check_source, load_source, make_phantom
from covid_keras.data.phantom import (
    PhantomSettings,
    collection,
    lung_points,
    measure_extent,
    phantom_image,
    plan_collection,
)
from tests.helpers.refusals import refused


@pytest.mark.parametrize("view", ["PA", "AP", "L"])
def test_same_arguments_same_picture(view: str) -> None:
    first = phantom_image(5, 96, "covid", 4, view=view, hospital="B", marker="R", visit=1)
    phantom_image(6, 64)  # whatever is drawn between plays no part
    again = phantom_image(5, 96, "covid", 4, view=view, hospital="B", marker="R", visit=1)
    for name in ("image", "lungs", "opacity"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.image.dtype == np.uint8
    assert first.image.shape == (96, 96)
    assert set(np.unique(first.lungs)) == {0, 255}


@pytest.mark.parametrize("label", ["covid", "cap"])
def test_positive_of_extent_zero_is_the_normal_picture(label: str) -> None:
    """Nothing to be seen means nothing to be learnt: not a grey level differs."""
    positive, normal = phantom_image(11, 96, label, 0), phantom_image(11, 96, "normal")
    np.testing.assert_array_equal(positive.image, normal.image)
    assert not positive.opacity.any()


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 96, (160, 200), 384])
@pytest.mark.parametrize("label", ["covid", "cap"])
def test_measured_extent_is_the_stored_one(size: int | tuple[int, int], label: str) -> None:
    for seed, view in ((1, "PA"), (2, "AP")):
        for extent in range(9):
            sample = phantom_image(seed * 100 + extent, size, label, extent, view=view)
            assert measure_extent(sample.opacity, sample.lungs) == extent == sample.extent
            assert not sample.opacity[sample.lungs == 0].any()


def test_points_of_a_lung_are_started_quarters() -> None:
    assert [lung_points(share) for share in (0.0, 0.1, 0.25, 0.26, 0.5, 0.74, 0.76, 1.0)] == [0, 1, 1, 2, 2, 3, 4, 4]
    assert measure_extent(np.zeros((8, 8)), np.zeros((8, 8))) == 0


def test_same_anatomy_at_any_size() -> None:
    large, small = phantom_image(3, 512, "covid", 5), phantom_image(3, 128, "covid", 5)
    shrunk = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA).astype(float)
    assert np.corrcoef(shrunk.ravel(), small.image.ravel())[0, 1] > 0.985
    lungs = cv2.resize(large.lungs, (128, 128), interpolation=cv2.INTER_AREA) > 127
    assert (lungs & (small.lungs > 0)).sum() * 2 / (lungs.sum() + (small.lungs > 0).sum()) > 0.98


def test_looks_like_a_radiograph_in_numbers() -> None:
    """Lungs dark, mediastinum and abdomen bright, two lungs of plausible size, heart on the image's right."""
    sides = []
    for seed in range(12):
        sample = phantom_image(seed, 128, view="PA", hospital="AB"[seed % 2])
        count, parts, stats, centres = cv2.connectedComponentsWithStats(sample.lungs)
        assert count == 3
        right, left = sorted((1, 2), key=lambda part: centres[part, 0])
        between = sample.image[:, stats[right, 0] + stats[right, 2] : stats[left, 0]]
        lung_grey = np.median(sample.image[sample.lungs > 0])
        rows = slice(stats[right, 1] + 20, stats[right, 1] + stats[right, 3])
        assert 50 < lung_grey < 140
        assert np.median(between[rows]) > lung_grey + 60
        assert 0.2 < (sample.lungs > 0).mean() < 0.55
        assert stats[right, cv2.CC_STAT_AREA] > 0.8 * stats[left, cv2.CC_STAT_AREA]
        base = slice(stats[right, 1] + stats[right, 3] // 2, None)  # lower half, where the heart lies
        sides.append([sample.image[base][parts[base] == part].mean() for part in (right, left)])
    assert np.diff(np.mean(sides, axis=0)) > 5


def test_visits_keep_the_patient_and_change_the_exposure() -> None:
    first, second = phantom_image(8, 96, visit=0), phantom_image(8, 96, visit=1)
    other = phantom_image(9, 96, visit=0)
    assert (first.image != second.image).mean() > 0.5

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    assert overlap(first.lungs > 0, second.lungs > 0) > 0.75
    assert (first.image != other.image).mean() > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "flu"}, "unknown label 'flu'"),
        ({"view": "oblique"}, "unknown view"),
        ({"hospital": "C"}, "unknown hospital"),
        ({"label": "covid", "extent": 9}, "extent 9"),
        ({"label": "normal", "extent": 2}, "a normal image cannot have extent 2"),
        ({"size": 8}, "size 8 is too small"),
    ],
)
def test_image_refuses_nonsense(arguments: dict, message: str) -> None:
    refused(message, phantom_image, 0, **arguments)


def _features(sample: object) -> np.ndarray:
    """Return the mean grey of four zones of each lung, against the picture's darkest and brightest parts."""
    image, lungs = sample.image.astype(float), sample.lungs > 0
    low, high = np.percentile(image, (2, 97))
    image = (image - low) / (high - low)
    column = np.nonzero(lungs.any(axis=0))[0]
    middle = (column[0] + column[-1]) // 2
    values = []
    for half in (slice(None, middle), slice(middle, None)):
        part, mask = image[:, half], lungs[:, half]
        rows = np.nonzero(mask.any(axis=1))[0]
        for zone in np.array_split(np.arange(rows[0], rows[-1] + 1), 4):
            values.append(part[zone][mask[zone]].mean())
    return np.array(values)


@pytest.mark.slow
def test_signal_grows_with_extent_and_is_absent_at_zero() -> None:
    """Normals against COVID-like: Severe is found nearly always, extent 0 as often as a normal is mistaken."""
    extents = [1, 2, 3, 4, 5, 6, 7, 8]
    train = [phantom_image(s, 96, "normal", 0, hospital="AB"[s % 2]) for s in range(80)]
    train += [phantom_image(100 + s, 96, "covid", extents[s % 8], hospital="AB"[s // 8 % 2]) for s in range(80)]
    truth = np.array([sample.label == "covid" for sample in train])
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(np.array([_features(sample) for sample in train]), truth)

    def flagged(extent: int, seeds: range, label: str = "covid") -> float:
        test = [phantom_image(s, 96, label, extent, hospital="AB"[s % 2]) for s in seeds]
        return float(model.predict(np.array([_features(sample) for sample in test])).mean())

    false_positives = flagged(0, range(1000, 1050), "normal")
    invisible = flagged(0, range(2000, 2050))
    mild, moderate, severe = (flagged(e, range(1000 * e, 1000 * e + 30)) for e in (2, 4, 7))
    assert abs(invisible - false_positives) < 0.2
    assert invisible < moderate
    assert mild <= moderate <= severe + 0.1
    assert severe > 0.85
    assert severe > invisible + 0.5


def test_plan_has_the_composition_asked_for() -> None:
    settings = PhantomSettings({"normal": 100, "covid": 100, "cap": 10}, follow_ups=0.0)
    table = plan_collection(settings)
    assert table["label"].value_counts().to_dict() == {"normal": 100, "covid": 100, "cap": 10}
    levels = table[table["label"] == "covid"]["severity"].value_counts().to_dict()
    assert levels == {"Normal-PCR+": 18, "Mild": 23, "Moderate": 40, "Severe": 19}
    assert (table[table["label"] != "covid"]["severity"] == "").all()
    assert table["image_id"].is_unique


def test_shortcuts_are_absent_unless_asked_for() -> None:
    def association(column: str, value: str, **options: float) -> float:
        table = plan_collection(PhantomSettings({"normal": 300, "covid": 300}, follow_ups=0.0, **options))
        positive = table["label"] == "covid"
        has = table[column] == value
        return float(has[positive].mean() - has[~positive].mean())

    assert abs(association("hospital", "B")) < 0.12
    assert abs(association("marker", "")) < 0.12
    assert association("hospital", "B", hospital_shortcut=1.0) == 1.0
    assert association("marker", "", marker_shortcut=1.0) == -1.0
    assert 0.35 < association("hospital", "B", hospital_shortcut=0.5) < 0.65


def test_follow_ups_share_patient_and_hospital() -> None:
    table = plan_collection(PhantomSettings({"covid": 200}, follow_ups=0.5))
    by_patient = table.groupby("patient")
    assert by_patient.size().max() == 4
    assert (by_patient["image_seed"].nunique() == 1).all()
    assert (by_patient["hospital"].nunique() == 1).all()
    assert (by_patient["extent"].nunique() > 1).any()
    assert table["extent"].between(0, 8).all()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    return make_phantom(data / "phantom", patients=9, size=64, seed=3, composition={"normal": 1, "covid": 1, "cap": 1})


def test_collection_loads_as_a_cohort(made: Path) -> None:
    cohort = load_source("phantom", made.parent)
    assert cohort.classes == ("normal", "cap", "covid")
    assert len(cohort.patients()) == 9
    assert cohort.table["image_id"].str.startswith("phantom/").all()
    assert cohort.table["patient_id"].str.startswith("phantom/").all()
    for row in cohort.table.itertuples():
        lungs, opacity = (cv2.imread(p, cv2.IMREAD_UNCHANGED) for p in (row.mask_path, row.opacity_path))
        assert cv2.imread(row.path, cv2.IMREAD_UNCHANGED).shape == lungs.shape == (64, 64)
        assert measure_extent(opacity, lungs) == row.extent
    assert all(expected == found for _, expected, found in check_source("phantom", made.parent))


def test_same_seed_same_files_at_any_number_of_threads(made: Path, tmp_path: Path) -> None:
    again = make_phantom(
        tmp_path / "again", patients=9, size=64, seed=3, composition={"normal": 1, "covid": 1, "cap": 1}, workers=1
    )
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((made / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_same_settings_are_reused_others_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "phantom_image", lambda *a, **k: pytest.fail("drawn again"))
    shares = {"normal": 1, "covid": 1, "cap": 1}
    assert make_phantom(made, patients=9, size=64, seed=3, composition=shares) == made
    with pytest.raises(UserError, match="something other than a whole phantom of these settings"):
        make_phantom(made, patients=9, size=64, seed=4, composition=shares)


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused("something other", make_phantom, tmp_path, patients=2, size=64)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_disk_full_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def full(path: Path, pixels: np.ndarray) -> None:
        written.append(path)
        if len(written) > 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(collection, "_write_png", full)
    refused("No space left on device", make_phantom, tmp_path / "phantom", patients=4, size=64)
    assert list(tmp_path.iterdir()) == []


def test_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused("could not be written", make_phantom, tmp_path / "file" / "phantom", patients=2, size=64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"composition": {"flu": 3}}, "unknown composition 'flu'"),
        ({"composition": {"normal": 1.5, "covid": 1}}, "holds fractions"),
        ({"patients": 0}, "no patients"),
        ({"severities": {"Bad": 1}}, "unknown severities 'Bad'"),
        ({"views": {"PA": 0}}, "must have shares"),
        ({"markers": 1.5}, "markers must lie in 0..1"),
    ],
)
def test_make_phantom_refuses_nonsense(tmp_path: Path, arguments: dict, message: str) -> None:
    refused(message, make_phantom, tmp_path / "phantom", **arguments)
    assert not (tmp_path / "phantom").exists()


def test_missing_image_of_the_table_is_named(tmp_path: Path) -> None:
    folder = make_phantom(tmp_path / "phantom", patients=2, size=64)
    name = pd.read_csv(folder / "metadata.csv")["file"].iloc[0]
    (folder / "masks" / name).unlink()
    refused(f"masks/{name}: is listed in the phantom's table but missing", load_source, "phantom", tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("extent", "many", r"metadata\.csv: 'many' in column 'extent' of '.*' is not a number"),
        ("extent", "9", "lies outside 0 to 8"),
        ("visit", "first", "image '.*'visit'"),
    ],
)
def test_an_edited_table_is_named(tmp_path: Path, column: str, value: str, message: str) -> None:
    folder = make_phantom(tmp_path / "phantom", patients=2, size=64)
    table = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    table.loc[0, column] = value
    table.to_csv(folder / "metadata.csv", index=False)
    refused(message, load_source, "phantom", tmp_path)


def test_edited_settings_are_named(tmp_path: Path) -> None:
    folder = make_phantom(tmp_path / "phantom", patients=2, size=64)
    for text in ("settings: {}", "settings: {composition: {covid: many}}", "settings: [", "3"):
        (folder / "phantom.yaml").write_text(text)
        refused(r"phantom\.yaml: is (missing or )?damaged", check_source, "phantom", tmp_path)
