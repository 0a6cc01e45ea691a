"""`--micro-batch` in executions and segmenters: the same training in pieces, recorded, refused where it cannot be."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from covid_keras.common.files import read_json
from covid_keras.evaluation import read_predictions, score_columns
from covid_keras.training.devices import fresh_state, needs_full_batches, require_pieces
from covid_keras.training.execution import execute
from tests.helpers.discs import make_discs
from tests.helpers.refusals import refused
from tests.training.test_segmenters import KIND, TINY, train_segmenter


@pytest.mark.slow
def test_an_execution_in_pieces_predicts_what_the_whole_batches_do(make_run):
    """Batches of four in pieces of three and one; the network has neither dropout nor batch normalisation."""
    frames, losses = [], []
    for name, changes in (("whole", {}), ("pieces", {"micro_batch": 3})):
        training = {"epochs": 2, "class_weights": "balanced"}
        execution = make_run(name, systems=["b"], training=training, **changes).execution("b", 0, 0)
        with fresh_state():
            execute(execution)
        frames.append(read_predictions(execution.predictions))
        losses.append(execution.history[["loss", "val_loss", "accuracy"]].to_numpy())
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-4)
    scores = [frame[score_columns(frame)].to_numpy(float) for frame in frames]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)


@pytest.mark.slow
def test_a_segmenter_records_its_pieces(tmp_path):
    cohort, split = make_discs(tmp_path)
    given = (KIND, "disc", TINY, cohort, split, tmp_path / "disc")
    record = read_json(train_segmenter(*given, micro_batch=1) / "record.json")
    assert record["micro_batch"] == 1
    refused("other settings", train_segmenter, *given)


@pytest.mark.parametrize(
    ("images", "devices", "dropped"), [(32, 2, False), (33, 2, True), (34, 2, False), (35, 4, True), (33, 1, False)]
)
def test_a_last_batch_that_leaves_devices_without_images_is_dropped(images, devices, dropped):
    assert needs_full_batches(SimpleNamespace(num_replicas_in_sync=devices), images, 16) == dropped


def test_devices_that_share_a_batch_do_not_divide_it_too():
    several = SimpleNamespace(num_replicas_in_sync=2)
    refused("--micro-batch 4: .*2 devices", require_pieces, several, 4)
    require_pieces(several, 0)
    require_pieces(SimpleNamespace(num_replicas_in_sync=1), 4)
