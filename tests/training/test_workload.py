"""How much a run trains, counted from the protocol and the paper's or the cohort's numbers of images."""

from __future__ import annotations

import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.paper.protocol import SplitSettings
from covid_keras.paper.registered import load_paper
from covid_keras.training.workload import Images, Work, count_work, shares
from tests.helpers.refusals import refused


def counted(name, profile, out, labels=None, **changes):
    """Return {system: Work} of a profile, with the paper's images or a cohort of the labels given."""
    paper = load_paper(name)
    protocol = paper.protocol(profile, changes)
    cohort = labels and made(labels)
    work = count_work(paper, protocol, protocol.systems, out, Images(cohort, None, out / "made"))
    return {one.name: one for one in work}


def made(labels: list[str]) -> Cohort:
    """Return a cohort of images that do not exist."""
    ids = [f"made/{number}" for number in range(len(labels))]
    columns = {"image_id": ids, "path": ids, "patient_id": ids, "source": "made", "label": labels, "severity": ""}
    return Cohort(pd.DataFrame(columns), tuple(dict.fromkeys(labels)), "made")


def test_the_papers_images_and_every_fold_are_counted(tmp_path):
    work = counted("tabik", "paper", tmp_path)
    one = work["resnet50_full"]
    assert (one.trainings, one.epochs, one.images, one.validation) == (25, 50, 2 * 307, 2 * 34)
    assert one.image_epochs == 25 * 50 * 614
    assert work["covid_sdnet"].images == 2 * 614, "both transformed versions of each image"
    assert work["covidnet_retrained"].images == 8 * 77, "batches without its positives"
    assert "covidnet_pretrained" not in work, "nothing is trained"


def test_stages_and_segmenters_are_counted(tmp_path):
    work = counted("hertel", "paper", tmp_path)
    assert work["vgg19_multi"].stages == (5, 30, 30, 30, 30, 30)
    assert work["resunet"].images + work["resunet"].validation == 6377
    assert counted("arias", "paper", tmp_path)["unet2"].batch == 64


def test_a_cohort_is_counted_by_the_labels_and_shares_of_the_split(tmp_path):
    splits = {"binary": {"shares": {"normal": {"train": 1.0}}}}
    work = counted(
        "haghanifar", "smoke", tmp_path, ["normal"] * 50 + ["COVID-19"] * 100, systems=["cxnet_v1"], splits=splits
    )
    assert (work["cxnet_v1"].images, work["cxnet_v1"].validation) == (50 + 55, 15)


def test_finished_executions_are_not_counted_again(tmp_path):
    for fold in (0, 1):
        record = tmp_path / "executions" / "resnet50_full" / f"repeat0-fold{fold}" / "execution.json"
        record.parent.mkdir(parents=True)
        record.write_text("{}")
    assert counted("tabik", "paper", tmp_path)["resnet50_full"].left == 23


def test_without_any_number_of_images_one_line_says_so(tmp_path):
    refused("profile 'cpu': has no images here", counted, "head_to_head", "cpu", tmp_path)


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        (SplitSettings(folds=4, validation=0.2), (0.6, 0.15)),
        (SplitSettings(scheme="hold_out", folds=1, validation=0.1, test=0.3), (0.6, 0.1)),
        (SplitSettings(scheme="published", folds=1, test=0.2, leaky_as_published=True), (0.8, 0.2)),
    ],
)
def test_the_parts_are_those_of_the_scheme(split, parts):
    assert shares(split) == pytest.approx(parts)


def test_steps_include_a_short_last_one():
    assert Work("a", "A", 1, 0, (1,), 33, 0, 16).steps == 3
