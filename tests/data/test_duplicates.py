"""Near-duplicates: altered copies are found, other radiographs are not, and patients are joined."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.common import threads
from covid_keras.data import duplicates, file_hashes
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import (
    candidate_distance,
    duplicate_groups,
    find_duplicates,
    perceptual_hash,
)
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import read_image, write_image
from tests.helpers.refusals import refused


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


def test_duplicates_by_the_hash_alone(tmp_path):
    cohort = cohort_of(tmp_path, {f"a/{seed}": picture(seed) for seed in range(3)})
    hashes = [perceptual_hash(read_image(path)) for path in cohort.table["path"]]
    apart = int(np.sum(hashes[0] != hashes[1]))
    pairs = find_duplicates(cohort, threshold=256, min_correlation=None).set_index(["image_id_a", "image_id_b"])
    assert len(pairs) == 3
    assert pairs.loc[("a/0", "a/1"), "distance"] == apart
    assert pairs["correlation"].isna().all()
    assert ("a/0", "a/1") not in found(find_duplicates(cohort, threshold=apart - 1, min_correlation=None))


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
    monkeypatch.delattr(threads.os, "sched_getaffinity", raising=False)
    cohort = cohort_of(tmp_path, {f"a/{seed}": picture(seed) for seed in range(2)})
    assert len(find_duplicates(cohort, 256, min_correlation=-1)) == 1


def test_duplicates_unreadable_image_is_named(tmp_path):
    cohort = cohort_of(tmp_path, {f"a/{seed}": picture(seed) for seed in range(3)})
    (tmp_path / "a" / "1.png").write_bytes(b"")
    refused(r"1\.png: the file is empty", find_duplicates, cohort)


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
    refused(r"a/1.*b/copy", check_disjoint, table, cohort, find_duplicates(cohort))


def test_duplicates_other_phantoms_are_none(tmp_path):
    from covid_keras.data.phantom import phantom_image

    pictures = {f"p/{seed}": phantom_image(seed, size=128, label="normal", extent=0).image for seed in range(12)}
    pictures["q/0"] = cv2.resize(pictures["p/0"], (200, 200), interpolation=cv2.INTER_CUBIC)
    assert found(find_duplicates(cohort_of(tmp_path, pictures))) == {("p/0", "q/0")}


# ---------------------------------------------------------------------------------- many images


ALL = {"threshold": 256, "min_correlation": -1.0}


def noise_cohort(folder, count: int) -> Cohort:
    """So many small pictures, each with an id `a/<number>`."""
    draw = np.random.default_rng(0).integers
    return cohort_of(folder, {f"a/{i:02}": draw(0, 256, (32, 40)).astype(np.uint8) for i in range(count)})


@pytest.fixture
def work(monkeypatch) -> dict[str, int]:
    """Count what is read, normalised and compared; comparing is replaced by something quick, all files are settled."""
    counts = dict.fromkeys(("read", "normalised", "compared"), 0)

    def counted(name, function):
        def call(*given):
            counts[name] += 1
            return function(*given)

        return call

    monkeypatch.setattr(duplicates, "read_image", counted("read", duplicates.read_image))
    monkeypatch.setattr(duplicates, "_normalise", counted("normalised", duplicates._normalise))
    quick = counted("compared", lambda a, b: float((a[:32] * b[-32:]).mean()))
    monkeypatch.setattr(duplicates, "_registered_correlation", quick)
    monkeypatch.setattr(file_hashes, "_SETTLED_NS", -(10**12))
    return counts


def test_duplicates_candidates_are_nearer_where_there_are_many_images(tmp_path, monkeypatch):
    assert [candidate_distance(n) for n in (0, 1, 2257, 9_999, 10_000)] == [92] * 5
    assert [candidate_distance(n) for n in (14_142, 20_000, 40_000, 80_000, 160_000, 10**9)] == [88, 84, 76, 68, 64, 64]
    many = [candidate_distance(n) for n in range(10_000, 200_000, 997)]
    assert many == sorted(many, reverse=True)
    assert not any(distance % 2 for distance in many)
    monkeypatch.setattr(duplicates, "perceptual_hash", lambda image: np.arange(256) < (0, 86)[int(image.max() > 9)])
    cohort = cohort_of(tmp_path, {f"a/{level}": np.full((32, 32), level, np.uint8) for level in (1, 99)})
    assert len(find_duplicates(cohort, min_correlation=None)) == 1
    monkeypatch.setattr(duplicates, "MANY_IMAGES", 1)  # two images are then twice as many: 84 bits
    assert len(find_duplicates(cohort, min_correlation=None)) == 0
    assert len(find_duplicates(cohort, 86, min_correlation=None)) == 1


@pytest.mark.parametrize("cached", [False, True])
def test_duplicates_agree_with_every_pair_compared_from_its_files(tmp_path, cached):
    pictures = {f"a/{seed}": picture(seed, 100) for seed in range(5)} | {"b/2": picture(2, 100)[2:-3, 1:-2]}
    cohort = cohort_of(tmp_path, pictures)
    images = [read_image(path) for path in cohort.table["path"]]
    small = [duplicates._normalise(cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)) for image in images]
    ids, expected = cohort.table["image_id"].tolist(), []
    for i, first in enumerate(images):
        for j, second in enumerate(images[i + 1 :], i + 1):
            distance = int(np.sum(perceptual_hash(first) != perceptual_hash(second)))
            expected.append((ids[i], ids[j], distance, duplicates._registered_correlation(small[i], small[j])))
    for correlated in (-1.0, 0.94):
        pairs = find_duplicates(cohort, 256, min_correlation=correlated, cache=tmp_path / "cache" if cached else None)
        found = list(pairs.drop(columns=["source_a", "source_b"]).itertuples(index=False, name=None))
        assert found == [pair for pair in expected if pair[3] >= correlated]
        assert len(found) == {-1.0: sum(pair[3] >= -1 for pair in expected), 0.94: 1}[correlated]
        assert pairs["distance"].dtype == np.int64


def test_duplicates_kept_in_a_cache_need_no_work_again(tmp_path, work, monkeypatch):
    cohort, cache = noise_cohort(tmp_path, 9), tmp_path / "cache"
    first = find_duplicates(cohort, **ALL, cache=cache)
    assert (work["read"], work["compared"]) == (9, 36)
    with monkeypatch.context() as patch:
        patch.setattr("covid_keras.data.file_hashes.sha256_of", lambda path: pytest.fail(f"{path} was read again"))
        again = find_duplicates(cohort, **ALL, cache=cache)
    assert (work["read"], work["compared"]) == (9, 36)
    pd.testing.assert_frame_equal(again, first, check_exact=True)
    pd.testing.assert_frame_equal(find_duplicates(cohort, **ALL), first, check_exact=True)
    assert (work["read"], work["compared"]) == (18, 72), "without a cache each image is decoded once, too"
    # The key is the image's bytes: another picture under an old name is noticed, an old one in a new place is known.
    write_image(cohort.table["path"][4], np.full((32, 32), 7, np.uint8))
    work.update(read=0)
    changed = find_duplicates(cohort, **ALL, cache=cache)
    assert work["read"] == 1
    assert not changed["distance"].equals(first["distance"])
    (tmp_path / "a").rename(tmp_path / "moved")
    moved = Cohort(cohort.table.assign(path=cohort.table["path"].str.replace("/a/", "/moved/")), ("x",))
    pd.testing.assert_frame_equal(find_duplicates(moved, **ALL, cache=cache), changed, check_exact=True)
    assert work["read"] == 1
    # What is computed in another way is made anew.
    monkeypatch.setattr(duplicates, "ALGORITHM", duplicates.ALGORITHM + 1)
    work.update(read=0, compared=0)
    find_duplicates(moved, **ALL, cache=cache)
    assert (work["read"], work["compared"]) == (9, 36)


def test_duplicates_stopped_search_goes_on_where_it_was(tmp_path, work, monkeypatch):
    cohort, cache = noise_cohort(tmp_path, 9), tmp_path / "cache"
    good = Path(cohort.table["path"][6]).read_bytes()
    Path(cohort.table["path"][6]).write_bytes(b"")
    refused(r"06\.png: the file is empty", find_duplicates, cohort, **ALL, cache=cache, workers=1)
    Path(cohort.table["path"][6]).write_bytes(good)
    quick = duplicates._registered_correlation

    def stopping(a, b):
        if work["compared"] == 20:
            raise KeyboardInterrupt
        return quick(a, b)

    work.update(read=0)
    monkeypatch.setattr(duplicates, "_registered_correlation", stopping)
    with pytest.raises(KeyboardInterrupt):
        find_duplicates(cohort, **ALL, cache=cache, workers=1)
    assert work["read"] <= 3, "the six before the bad one were kept"
    monkeypatch.setattr(duplicates, "_registered_correlation", quick)
    work.update(read=0, compared=0)
    pairs = find_duplicates(cohort, **ALL, cache=cache, workers=1)
    assert work["read"] == 0
    assert work["compared"] == 36 - 16, "two groups of eight were whole"
    pd.testing.assert_frame_equal(pairs, find_duplicates(cohort, **ALL), check_exact=True)


def test_duplicates_thumbnails_in_memory_are_few_and_used_together(tmp_path, work, monkeypatch):
    cohort = noise_cohort(tmp_path, 12)
    expected = find_duplicates(cohort, **ALL, workers=1)
    assert work["normalised"] == 12
    monkeypatch.setattr(duplicates, "_CACHED_THUMBNAILS", 6)
    work.update(normalised=0)
    pairs = find_duplicates(cohort, **ALL, workers=1)
    pd.testing.assert_frame_equal(pairs, expected, check_exact=True)
    # Row by row, each of the 66 pairs but a few would load its second image again.
    assert 12 < work["normalised"] <= 36


def test_duplicates_few_pairs_wait_for_a_thread(tmp_path, work, monkeypatch):
    waiting = []

    class Watched(ThreadPoolExecutor):
        def submit(self, *given):
            future = super().submit(*given)
            futures.append(future)
            waiting.append(sum(not one.done() for one in futures))
            return future

    futures = []
    monkeypatch.setattr(threads, "ThreadPoolExecutor", Watched)
    monkeypatch.setattr(duplicates, "_MIN_GROUP", 1)
    find_duplicates(noise_cohort(tmp_path, 12), **ALL, workers=1)
    assert len(futures) == 12 + 66
    assert max(waiting) <= threads.AHEAD


def test_hashes_of_files_are_saved_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(file_hashes, "_SETTLED_NS", -(10**12))
    paths = [str(tmp_path / f"{i}") for i in range(40)]
    for path in paths:
        Path(path).write_text(path)
    hashes = FileHashes(tmp_path)
    hashes.of(paths[0])
    assert not (tmp_path / "files.json").exists(), "not after each"
    monkeypatch.setattr(file_hashes, "_SAVE_EVERY", 0.0)
    hashes.of(paths[1])
    assert set(json.loads((tmp_path / "files.json").read_text())) == {*paths[:2], "checksum"}
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(hashes.of, paths))
    assert set(json.loads((tmp_path / "files.json").read_text())) == {*paths, "checksum"}
    monkeypatch.setattr("covid_keras.data.file_hashes.sha256_of", lambda path: pytest.fail(f"{path} was read again"))
    assert [FileHashes(tmp_path).of(path) for path in paths[:5]] == digests[:5]


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
