"""Near-duplicates: altered copies are found, other radiographs are not, and patients are joined."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.data import duplicates
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import duplicate_groups, find_duplicates, hash_cohort, perceptual_hash
from covid_keras.data.images import read_image, write_image
from covid_keras.errors import UserError


def picture(seed: int, size: int = 240) -> np.ndarray:
    """Two dark lungs on a bright ground, alike in all, with ribs and vessels of each one's own."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    lungs = sum(np.exp(-(((rows - 0.5) / 0.3) ** 4) - ((columns - x) / 0.14) ** 4) for x in (0.3, 0.7))
    detail = sum(
        cv2.resize(rng.normal(size=(n, n)), (size, size), interpolation=cv2.INTER_CUBIC) * weight
        for n, weight in ((6, 6), (12, 9), (40, 9))
    )
    return np.clip(170 - 100 * lungs + detail, 0, 255).astype(np.uint8)


def cohort_of(folder, pictures: dict[str, np.ndarray], patients: dict[str, str] | None = None) -> Cohort:
    """A cohort of "<source>/<stem>" images; each its own patient unless said otherwise."""
    rows = [
        {
            "image_id": name,
            "patient_id": (patients or {}).get(name, name),
            "source": name.split("/")[0],
            "label": "x",
            "path": str(write_image(folder / f"{name}.png", image)),
        }
        for name, image in pictures.items()
    ]
    return Cohort(pd.DataFrame(rows), ("x",))


def found(pairs: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(pairs["image_id_a"], pairs["image_id_b"], strict=True))


def test_duplicates_hash_survives_size_compression_and_brightness():
    image = picture(0)
    reference = perceptual_hash(image)
    assert reference.shape == (256,)
    assert reference.dtype == bool
    jpeg = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)
    for copy in (
        cv2.resize(image, (180, 200), interpolation=cv2.INTER_AREA),
        jpeg,
        (image * 0.6 + 30).astype(np.uint8),
    ):
        assert np.sum(perceptual_hash(copy) != reference) <= 24
    assert np.sum(perceptual_hash(picture(1)) != reference) > 60
    with pytest.raises(ValueError, match="uint8"):
        perceptual_hash(image.astype(float))


def test_duplicates_altered_copies_are_found_across_sources(tmp_path):
    pictures = {f"a/{seed}": picture(seed) for seed in range(12)}
    crop = picture(3)[10:-4, 8:-12]
    marked = picture(5)
    cv2.putText(marked, "day 1", (90, 220), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    pictures |= {
        "b/same": picture(0),
        "b/smaller": cv2.resize(picture(1), (150, 160)),
        "b/crop": crop,
        "b/marked": marked,
        "b/dark": (picture(7) // 2).astype(np.uint8),
    }
    pairs = find_duplicates(cohort_of(tmp_path, pictures))
    assert tuple(pairs.columns) == duplicates.PAIR_COLUMNS
    assert found(pairs) == {
        ("a/0", "b/same"),
        ("a/1", "b/smaller"),
        ("a/3", "b/crop"),
        ("a/5", "b/marked"),
        ("a/7", "b/dark"),
    }
    assert set(pairs["source_a"]) == {"a"}
    assert set(pairs["source_b"]) == {"b"}
    assert pairs.loc[pairs["image_id_b"] == "b/same", "distance"].item() == 0
    assert pairs["correlation"].min() > duplicates.MIN_CORRELATION


def test_duplicates_none_gives_an_empty_table(tmp_path):
    pairs = find_duplicates(cohort_of(tmp_path, {f"a/{seed}": picture(seed) for seed in range(4)}))
    assert tuple(pairs.columns) == duplicates.PAIR_COLUMNS
    assert len(pairs) == 0


def test_duplicates_constant_images_equal_by_hash(tmp_path):
    cohort = cohort_of(tmp_path, {"a/1": np.full((64, 64), 9, np.uint8), "a/2": np.full((64, 64), 9, np.uint8)})
    pairs = find_duplicates(cohort)
    assert found(pairs) == {("a/1", "a/2")}
    assert pairs["correlation"].isna().all()


def test_duplicates_given_hashes_and_no_confirmation_read_nothing(tmp_path):
    cohort = cohort_of(tmp_path, {f"a/{seed}": picture(seed) for seed in (0, 1, 0 + 2)})
    hashes = hash_cohort(cohort, workers=2)
    assert hashes.shape == (3, 256)
    for path in cohort.table["path"]:
        (tmp_path / path).unlink()
    hashes[2] = hashes[0]
    hashes[2, :5] ^= True
    pairs = find_duplicates(cohort, threshold=5, hashes=hashes, min_correlation=None)
    assert pairs[["image_id_a", "image_id_b", "distance"]].to_numpy().tolist() == [["a/0", "a/2", 5]]
    assert len(find_duplicates(cohort, threshold=4, hashes=hashes, min_correlation=None)) == 0
    with pytest.raises(ValueError, match="do not fit 3 images"):
        find_duplicates(cohort, hashes=hashes[:2])


def test_duplicates_blocks_agree_with_every_pair_counted():
    hashes = np.random.default_rng(0).random((150, 256)) < 0.5
    expected = [(i, j, int(np.sum(hashes[i] != hashes[j]))) for i in range(150) for j in range(i + 1, 150)]
    expected = [pair for pair in expected if pair[2] <= 120]
    assert expected
    for block in (7, 64, 1000):
        result = duplicates._near_pairs(hashes, 120, block)
        assert list(zip(*(column.tolist() for column in result), strict=True)) == expected
    assert [len(column) for column in duplicates._near_pairs(hashes[:1], 120)] == [0, 0, 0]


def test_duplicates_ask_for_no_function_of_linux_alone(tmp_path, monkeypatch):
    monkeypatch.delattr(duplicates.os, "sched_getaffinity", raising=False)
    cohort = cohort_of(tmp_path, {f"a/{seed}": picture(seed) for seed in range(2)})
    assert hash_cohort(cohort).shape == (2, 256)


def test_duplicates_unreadable_image_is_named(tmp_path):
    cohort = cohort_of(tmp_path, {f"a/{seed}": picture(seed) for seed in range(3)})
    (tmp_path / "a" / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1\.png: the file is empty"):
        find_duplicates(cohort)


def test_duplicates_groups_join_patients_transitively(tmp_path):
    small = np.zeros((16, 16), np.uint8)
    names = ["a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "b/3"]
    patients = {"a/1": "a/p", "a/2": "a/p", "a/3": "a/q", "a/4": "a/r"}
    cohort = cohort_of(tmp_path, dict.fromkeys(names, small), patients)
    pairs = pd.DataFrame(
        {"image_id_a": ["a/2", "a/3", "b/2", "b/3"], "image_id_b": ["b/1", "b/1", "elsewhere/1", "elsewhere/1"]}
    )
    # p and q meet in b/1; b/2 and b/3 in an image that the cohort does not hold.
    expected = ["a/p", "a/p", "a/p", "a/r", "a/p", "b/2", "b/2"]
    assert duplicate_groups(cohort, pairs).tolist() == expected
    none = find_duplicates(cohort.filter(np.arange(7) == 0))
    assert duplicate_groups(cohort, none).tolist() == cohort.table["patient_id"].tolist()


def test_duplicates_pairs_that_cross_a_split_are_named(tmp_path):
    from covid_keras.data.splits import check_disjoint

    cohort = cohort_of(tmp_path, {"a/1": picture(1), "b/copy": picture(1), "a/2": picture(2)})
    table = cohort.table[["image_id", "patient_id", "label"]].assign(repeat=0, fold=0, split=["train", "test", "test"])
    with pytest.raises(UserError, match=r"a/1.*b/copy"):
        check_disjoint(table, cohort, find_duplicates(cohort))


def test_duplicates_other_phantoms_are_none(tmp_path):
    from covid_keras.data.phantom import phantom_image

    pictures = {f"p/{seed}": phantom_image(seed, size=128, label="normal", extent=0).image for seed in range(12)}
    pictures["q/0"] = cv2.resize(pictures["p/0"], (200, 200), interpolation=cv2.INTER_CUBIC)
    assert found(find_duplicates(cohort_of(tmp_path, pictures))) == {("p/0", "q/0")}


# ---------------------------------------------------------------------------------- real radiographs


def _altered(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a second collection does to a picture: crop up to 4 % a side, resize, other window, JPEG 60."""
    height, width = image.shape
    top, bottom, left, right = (rng.uniform(0, 0.04, 4) * [height, height, width, width]).astype(int)
    image = image[top : height - bottom, left : width - right]
    image = cv2.resize(image, (330, 300), interpolation=cv2.INTER_AREA)
    image = np.clip(image * rng.uniform(0.7, 1.2) + rng.uniform(-20, 20), 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)


@pytest.mark.real
def test_duplicates_real_radiographs_recall_and_false_alarms(tmp_path, real_data):
    """40 NIH patients: every altered copy is found, and no two patients are taken for one."""
    rng = np.random.default_rng(0)
    folder = real_data / "nih-chestxray14-subset" / "No_findings"
    first = {path.name.split("_")[0]: path for path in sorted(folder.iterdir(), reverse=True)}
    chosen = [first[patient] for patient in sorted(first)[:40]]
    pictures = {f"nih/{path.stem}": read_image(path) for path in chosen}
    copies = {f"copy/{path.stem}": _altered(pictures[f"nih/{path.stem}"], rng) for path in chosen}
    result = found(find_duplicates(cohort_of(tmp_path, pictures | copies)))
    expected = {(f"nih/{path.stem}", f"copy/{path.stem}") for path in chosen}
    assert result <= expected
    assert len(result) >= 0.9 * len(expected)
