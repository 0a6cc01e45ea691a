"""The store: what is kept comes back byte for byte, or is made again."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from covid_keras.data import PreparedImages, find_duplicates, prepare_cohort, read_mask
from covid_keras.data.preparation import Preparation
from covid_keras.data.store import Store, read_entry
from tests.helpers.images import DAMAGES, cohort_of, damage, smooth_noise
from tests.helpers.refusals import refused


@pytest.mark.parametrize("data", [b"", b"x", np.arange(12, dtype=np.uint8).reshape(3, 4), np.array([0.1, np.nan])])
@pytest.mark.parametrize("mark", [False, True])
def test_an_entry_comes_back(tmp_path, data, mark):
    store = Store(tmp_path / "new")
    assert store.find("abc") is None
    path = store.put("abc", data, mark)
    assert path == store.path("abc") == tmp_path / "new" / "ab" / "abc.raw"
    for entry in (store.find("abc"), store.read("abc"), read_entry(path)):
        assert entry.data.tobytes() == (data if isinstance(data, bytes) else data.tobytes())
        assert entry.mark is mark


def test_every_damaged_byte_is_noticed(tmp_path, caplog):
    store = Store(tmp_path)
    path = store.put("abc", b"payload", True)
    content = path.read_bytes()
    changed = [content[:n] + bytes([content[n] ^ 16]) + content[n + 1 :] for n in range(len(content))]
    for bad in (*changed, *(content[:n] for n in range(len(content))), content + b"x"):
        path.write_bytes(bad)
        refused(path.name, store.read, "abc")
        assert store.find("abc") is None
    assert str(path) in caplog.text
    path.unlink()
    refused(path.name, store.read, "abc")


def test_an_entry_under_the_name_of_another_is_noticed(tmp_path, caplog):
    store = Store(tmp_path)
    one, other = store.put("abc", b"one"), store.put("abd", b"two")
    one.write_bytes(other.read_bytes())
    refused(one.name, store.read, "abc")
    assert store.find("abc") is None
    assert str(one) in caplog.text


def test_entries_of_version_0_1_are_made_again_without_a_word(tmp_path, caplog):
    store = Store(tmp_path)
    path, content = store.put("abc", b"one"), b"one\0"
    path.write_bytes(content + struct.pack("<I", zlib.crc32(content)))
    assert store.find("abc") is None
    assert not caplog.text


def test_writers_at_once_leave_one_whole_entry(tmp_path):
    store, data = Store(tmp_path), np.arange(100_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put("abc", data + n % 2), range(40)))
    assert (store.read("abc").data.view(data.dtype) - data).tolist() in ([0] * len(data), [1] * len(data))
    assert [path.name for path in tmp_path.rglob("*.*")] == ["abc.raw"]


# --- each kind of entry, as it is used


def _prepare(folder: Path) -> np.ndarray:
    masks = {"a": np.zeros((90, 80), np.uint8), "b": np.full((90, 80), 255, np.uint8)}
    cohort = cohort_of(folder, {"a": smooth_noise(0), "b": smooth_noise(1)}, masks)
    prepared = prepare_cohort(cohort, Preparation(size=(32, 40), crop="lungs"), folder / "cache")
    assert prepared.whole_image_crops == ("a",)
    return prepared.batch(range(2))


def _segment(folder: Path) -> np.ndarray:
    from covid_keras.models.lung_masks import segment_cohort

    images = {"a": np.zeros((90, 80), np.uint8), "b": smooth_noise(1)}
    cohort, facts = segment_cohort(cohort_of(folder, images), folder / "cache", _Bright())
    assert facts["empty_ids"] == ["a"]
    return np.stack([read_mask(path) for path in cohort.table["mask_path"]])


class _Bright:
    """Marks what is bright, without a network."""

    key, mode, threshold, lungs = {}, "shipped", 0.5, "whole"
    entry = type("Entry", (), {"sha256": "", "ships": True})

    def masks(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [np.where(image > 127, 255, 0).astype(np.uint8) for image in images]


def _search(folder: Path) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    cohort = cohort_of(folder, {"a": image, "b": 255 - (255 - image) // 2})
    return find_duplicates(cohort, threshold=256, min_correlation=-1, cache=folder / "cache").to_numpy()


def _transform(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    from papers.covid_sdnet import transforms

    class Network:
        def transform(self, images: np.ndarray, index: int) -> np.ndarray:
            return images / (index + 2)

    monkeypatch.setattr(transforms, "load_cit", lambda protocol, before: Network())
    (folder / "best.weights.h5").write_bytes(b"weights")
    cohort = cohort_of(folder, {"a": smooth_noise(0, 16, 16), "b": smooth_noise(1, 16, 16)})
    cohort = cohort.relabel({"normal": "N", "covid": "P"}, ("N", "P"))
    images = prepare_cohort(cohort, Preparation(size=(16, 16)), folder / "images" / "cache")
    prepared = PreparedImages(folder / "cache", images.keys, images.image_ids, images.shape)
    for number, key in enumerate(images.keys):
        Store(prepared.folder).put(key, images.load(number))
    protocol, before = (
        type("Protocol", (), {"size": (16, 16)}),
        type("Before", (), {"weights": folder / "best.weights.h5"}),
    )
    pairs = transforms.feed_pairs(protocol, cohort, before, np.array(["train", "test"]), prepared).prepared
    return pairs.batch(range(4))


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("kind", ["prepared", "masks", "search", "pairs"])
def test_a_damaged_entry_is_made_again(tmp_path, monkeypatch, kind, how):
    make = {"prepared": _prepare, "masks": _segment, "search": _search}.get(kind)
    make = make or (lambda folder: _transform(folder, monkeypatch))
    good = make(tmp_path)
    entries = [path for path in (tmp_path / "cache").rglob("*.*") if path.suffix in (".raw", ".png")]
    whole = {path: path.read_bytes() for path in entries}
    assert len(whole) >= 2
    for path in entries:
        damage(path, how)
    np.testing.assert_array_equal(make(tmp_path), good)
    assert {path: path.read_bytes() for path in entries} == whole
