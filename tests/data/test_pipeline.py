"""tf.data: order, alignment, reproducibility, resume, static shapes, bounded memory, and `fit` over it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covid_keras.data.prepared_images import PreparedImages, stable_id
from tests.helpers.images import DAMAGES, damage, prepared_images
from tests.helpers.refusals import refused

tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402

from covid_keras.data.augment import Augmentation  # noqa: E402
from covid_keras.data.pipeline import make_dataset, naming_damage, steps_per_epoch  # noqa: E402

N = 22
AUGMENTATION = Augmentation(rotation=15, shift=(0.1, 0.1), zoom=(0.9, 1.2), shear=5, flip=True)


def make_prepared(folder, n: int = N, shape=(12, 10, 1)) -> PreparedImages:
    """Return images whose first pixel is their number."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(n) % 256
    return prepared_images(folder, pixels)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> PreparedImages:
    return make_prepared(tmp_path_factory.mktemp("cache"))


LABELS = np.arange(N)


def batches(dataset) -> list:
    return list(dataset.as_numpy_iterator())


def numbers(dataset) -> list[list[int]]:
    return [batch[:, 0, 0, 0].astype(int).tolist() for batch in batches(dataset)]


def joined(lists: list[list[int]]) -> list[int]:
    return [item for part in lists for item in part]


def assert_same(first: list, second: list) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("memory", [False, True])
def test_pipeline_in_order_gives_the_pixels_and_labels(prepared, memory):
    indices = [5, 3, 21, 0, 8]
    images, labels = zip(
        *batches(make_dataset(prepared, indices, LABELS, 2, scaling="0-255", memory=memory)), strict=True
    )
    assert [len(batch) for batch in images] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(images), prepared.batch(indices))
    assert np.concatenate(labels).tolist() == indices
    assert images[0].dtype == np.float32


def test_pipeline_every_epoch_shows_each_image_once_in_its_own_order(prepared):
    dataset = make_dataset(prepared, np.arange(N), None, 4, seed=3, training=True, epochs=3, scaling="0-255")
    shown = numbers(dataset)
    steps = steps_per_epoch(N, 4)
    assert int(dataset.cardinality()) == len(shown) == 3 * steps
    epochs = [joined(shown[start : start + steps]) for start in range(0, 3 * steps, steps)]
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [len(batch) for batch in shown] == ([4] * 5 + [2]) * 3
    other = numbers(make_dataset(prepared, np.arange(N), None, 4, seed=4, training=True, scaling="0-255"))
    assert joined(other) != epochs[0]


def test_pipeline_labels_follow_their_images_through_the_shuffle(prepared):
    indices = np.arange(1, N, 2)
    seen = []
    for images, labels in batches(make_dataset(prepared, indices, LABELS, 4, training=True, scaling="0-255")):
        np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
        seen += labels.tolist()
    assert sorted(seen) == indices.tolist()


@pytest.mark.slow
def test_pipeline_same_batches_at_any_parallelism_and_from_memory(prepared):
    def stream(**how):
        how |= {"seed": 7, "training": True, "augmentation": AUGMENTATION, "epochs": 2}
        return batches(make_dataset(prepared, np.arange(N), LABELS, 5, **how))

    reference = stream(num_parallel_calls=1, memory=False)
    assert_same(reference, stream(num_parallel_calls=8, memory=False))
    assert_same(reference, stream(memory=True))
    assert_same(reference, stream())


def test_pipeline_resumed_stream_continues_the_uninterrupted_one(prepared):
    def stream(start):
        how = {"seed": 2, "training": True, "augmentation": AUGMENTATION, "epochs": 4, "start_epoch": start}
        return batches(make_dataset(prepared, np.arange(N), LABELS, 5, **how))

    assert_same(stream(0)[3 * steps_per_epoch(N, 5) :], stream(3))


def test_pipeline_augmentation_of_an_image_does_not_depend_on_its_batch(prepared):
    def by_label(indices, batch_size):
        dataset = make_dataset(prepared, indices, LABELS, batch_size, seed=1, training=True, augmentation=AUGMENTATION)
        return {
            int(label): image
            for images, labels in batches(dataset)
            for image, label in zip(images, labels, strict=True)
        }

    every, some = by_label(np.arange(N), 5), by_label([4, 9, 17], 2)
    for label, image in some.items():
        np.testing.assert_array_equal(image, every[label])
        assert not np.array_equal(image * 255, prepared.load(label))


def test_pipeline_static_shapes(prepared):
    how = {"augmentation": AUGMENTATION, "drop_remainder": True, "one_hot": N, "channels": 3, "memory": False}
    dropped = make_dataset(prepared, np.arange(N), LABELS, 8, training=True, **how)
    images, labels = dropped.element_spec
    assert (tuple(images.shape), images.dtype) == ((8, 12, 10, 3), tf.float32)
    assert (tuple(labels.shape), labels.dtype) == ((8, N), tf.float32)
    assert len(batches(dropped)) == steps_per_epoch(N, 8, drop_remainder=True) == 2
    kept, _ = make_dataset(prepared, np.arange(N), LABELS, 8, memory=False).element_spec
    assert tuple(kept.shape) == (None, 12, 10, 1)


def test_pipeline_scaling_and_channels(prepared):
    pixels = prepared.batch(range(3)).astype(np.float32)
    np.testing.assert_allclose(batches(make_dataset(prepared, range(3)))[0], pixels / 255)
    function = keras.applications.resnet.preprocess_input
    got = batches(make_dataset(prepared, range(3), channels=3, scaling=function))[0]
    np.testing.assert_allclose(got, function(np.repeat(pixels, 3, -1)), rtol=1e-6)


def test_pipeline_labels_may_be_arrays_and_one_hot(prepared):
    weights = np.random.default_rng(0).random((N, 3))
    _, got = batches(make_dataset(prepared, [2, 9], weights))[0]
    np.testing.assert_array_equal(got, weights[[2, 9]].astype(np.float32))
    _, got = batches(make_dataset(prepared, [2, 9], LABELS % 2, one_hot=2))[0]
    np.testing.assert_array_equal(got, [[1, 0], [0, 1]])


def test_pipeline_fit_keeps_one_iterator_over_the_epochs(prepared):
    """What `fit` sees with steps_per_epoch is the stream, the short batches in their epochs."""
    seen: list[tuple[int, list[int]]] = []

    class Watch(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.scale = self.add_weight(shape=(), initializer="ones")

        def train_step(self, data):
            seen.append((self.epoch, data[1].numpy().tolist()))
            return {"loss": tf.constant(0.0)}

    model = Watch()
    model.compile(optimizer="sgd", run_eagerly=True)
    mark = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(model, "epoch", epoch))
    settings = {"batch_size": 8, "seed": 5, "training": True, "epochs": 4, "start_epoch": 1}
    dataset = make_dataset(prepared, np.arange(N), LABELS, **settings)
    how = {"steps_per_epoch": steps_per_epoch(N, 8), "epochs": 4, "initial_epoch": 1, "shuffle": False}
    model.fit(dataset, verbose=0, callbacks=[mark], **how)
    expected = [labels.tolist() for _, labels in batches(dataset)]
    assert [labels for _, labels in seen] == expected
    assert [epoch for epoch, _ in seen] == [1] * 3 + [2] * 3 + [3] * 3
    assert [len(labels) for _, labels in seen] == [8, 8, 6] * 3


@pytest.mark.slow
def test_pipeline_does_not_hold_the_cohort_in_its_graph(tmp_path):
    few = make_prepared(tmp_path / "few", 30, (64, 64, 1))
    many = make_prepared(tmp_path / "many", 600, (64, 64, 1))

    def graph_bytes(prepared, memory=False):
        labels, settings = np.zeros(prepared.n, int), {"augmentation": AUGMENTATION, "memory": memory}
        dataset = make_dataset(prepared, np.arange(prepared.n), labels, 16, training=True, **settings)
        assert sum(len(images) for images, _ in dataset.as_numpy_iterator()) == prepared.n
        return len(tf.raw_ops.DatasetToGraphV2(input_dataset=dataset._variant_tensor).numpy())

    per_image = (graph_bytes(many) - graph_bytes(few)) / (600 - 30)
    # path, id and label; an image has 4,096 bytes
    assert per_image < 400
    assert graph_bytes(few, memory=True) > 30 * 4096  # the measure does see what is held in memory


@pytest.mark.parametrize("how", DAMAGES)
def test_pipeline_damaged_cache_file_stops_the_run(tmp_path, how):
    prepared = make_prepared(tmp_path, 4)
    dataset = make_dataset(prepared, range(4), memory=False)
    damage(prepared.paths[2], how)
    name = Path(prepared.paths[2]).name
    with pytest.raises(tf.errors.OpError, match=name):
        batches(dataset)
    refused(name, naming_damage()(batches), dataset)
    refused(name, make_dataset, prepared, range(4), memory=True)


def test_pipeline_bad_arguments(prepared):
    refused("no images", make_dataset, prepared, [])
    refused("do not fill a batch of 16", make_dataset, prepared, range(4), drop_remainder=True)
    refused("scaling", make_dataset, prepared, range(4), scaling="0-2")
    refused("seed", make_dataset, prepared, range(4), seed=-1)
    for words, settings in (
        ("one entry per prepared image", {"labels": LABELS[:4]}),
        ("labels must lie in", {"labels": LABELS, "one_hot": 2}),
        ("training", {"augmentation": AUGMENTATION}),
        ("start_epoch", {"epochs": 2, "start_epoch": 2}),
        ("indices must lie in 0\\.\\.21", {"indices": [0, 22]}),
    ):
        with pytest.raises(ValueError, match=words):
            make_dataset(prepared, **{"indices": range(4), **settings})


CHOSEN = np.arange(1, N, 2)
PLAN = np.array([[[0, 0, 10], [3, 2, 1]], [[10, 9, 8], [7, 7, 7]], [[4, 5, 6], [1, 0, 2]]])


def planned(start: int = 0, indices=CHOSEN, plan=PLAN, **how):
    settings = {"batch_size": 99, "seed": 6, "training": True, "epochs": 3, "start_epoch": start, "plan": plan}
    return make_dataset(prepared=how.pop("images"), indices=indices, labels=LABELS, **(settings | how))


@pytest.mark.parametrize("memory", [False, True])
def test_pipeline_planned_batches_are_those_planned(prepared, memory):
    dataset = planned(images=prepared, scaling="0-255", memory=memory)
    assert int(dataset.cardinality()) == 6
    seen = batches(dataset)
    for (images, labels), places in zip(seen, PLAN.reshape(6, 3), strict=True):
        assert labels.tolist() == CHOSEN[places].tolist()
        np.testing.assert_array_equal(images, prepared.batch(CHOSEN[places]))
    with_tpu = batches(planned(images=prepared, scaling="0-255", drop_remainder=True, batch_size=2))
    assert_same(seen, with_tpu)


def test_pipeline_plan_resumed_is_the_uninterrupted_one(prepared):
    whole = batches(planned(images=prepared, augmentation=AUGMENTATION))
    assert_same(whole[4:], batches(planned(2, images=prepared, augmentation=AUGMENTATION)))
    again = batches(planned(images=prepared, augmentation=AUGMENTATION, num_parallel_calls=4, memory=False))
    assert_same(whole, again)
    images, labels = whole[0]
    assert labels[0] == labels[1]
    np.testing.assert_array_equal(images[0], images[1])  # one image of one epoch, however often
    other = {int(label): image for batch in whole[2:] for label, image in zip(batch[1], batch[0], strict=True)}
    assert not np.array_equal(images[2], other[int(labels[2])]), "another epoch augments it anew"


@pytest.mark.parametrize(
    ("plan", "changes", "words"),
    [
        (PLAN[:2], {}, r"integers \(3, steps, batch\), got .* \(2, 2, 3\)"),
        (PLAN[0], {}, "plan must be integers"),
        (PLAN.astype(float), {}, "float64"),
        (PLAN + 1, {}, r"must have positions in 0\.\.10"),
        (PLAN - 1, {}, r"must have positions in 0\.\.10"),
        (PLAN[:, :0], {}, "must have positions in"),
        (PLAN, {"training": False}, "plan requires training=True"),
    ],
)
def test_pipeline_a_wrong_plan_is_refused(prepared, plan, changes, words):
    with pytest.raises(ValueError, match=words):
        planned(images=prepared, plan=plan, **changes)


def test_pipeline_ids_are_stable():
    assert stable_id("cohen/1-s2.0") == stable_id("cohen/1-s2.0")
    # A changed value would change the augmentation of every run that is resumed.
    assert stable_id("made/0") == 1763851057507474576
    ids = {stable_id(f"made/{number}") for number in range(2000)}
    assert len(ids) == 2000
    assert all(-(2**63) <= value < 2**63 for value in ids)
