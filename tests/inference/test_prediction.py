"""`covid-keras predict`: a network set by hand answers on what is known, so that every number can be foretold."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import tifffile
from keras import layers
from PIL import Image

import covid_keras.models
from covid_keras import DISCLAIMER
from covid_keras.commands.main import main
from covid_keras.commands.parsing import in_red
from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json, sha256_of
from covid_keras.common.tables import read_table
from covid_keras.data import Cohort, make_dataset, prepare_cohort, prepare_image, read_image, write_image
from covid_keras.data.images import Radiograph, encode_png
from covid_keras.data.phantom import phantom_image
from covid_keras.data.preparation import Preparation, crop_box
from covid_keras.inference import inputs
from covid_keras.inference.network import RegisteredNetwork
from covid_keras.inference.prediction import Predictor, mask_box, predict_files, view_box
from covid_keras.inference.view_check import doubt_of
from covid_keras.models import LungSegmenter, registry, save_weights
from covid_keras.models.lung_masks import segment_cohort
from covid_keras.models.registry import WeightEntry, find_model, load_registry, predictive_models
from covid_keras.preprocessing import LungBox, centre_square, drop_top
from covid_keras.reporting.pictures import Explanation
from covid_keras.reporting.prediction_figure import draw_prediction, prediction_figure
from covid_keras.reporting.style import ALARM
from tests.helpers.command import fails
from tests.helpers.dicom import write_dicom
from tests.helpers.disk import full_disk
from tests.helpers.made_files import write_png
from tests.helpers.networks import registered

SIZE = 48
NOISE = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
REGISTERED = load_registry()
LIMITS = "Made collections differ in source; a high score may mean only that."


def build_tiny(input_shape, classes: int = 1, slope: float = 8.0, bias: float = -4.0) -> keras.Model:
    """Logit of the last class: slope x mean + bias. The map of its layer is the picture itself."""
    inputs = keras.Input(input_shape, name="radiograph")
    x = layers.Conv2D(1, 1, name="grey")(inputs)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    activation = "sigmoid" if classes == 1 else "softmax"
    model = keras.Model(inputs, layers.Dense(classes, activation=activation, name="answer")(x), name="tiny")
    channels = input_shape[2]
    model.get_layer("grey").set_weights([np.full((1, 1, channels, 1), 1 / channels), np.zeros(1)])
    kernel, offset = np.zeros((1, classes)), np.zeros(classes)
    kernel[0, -1], offset[-1] = slope, bias
    model.get_layer("answer").set_weights([kernel, offset])
    return model


@pytest.fixture(scope="module")
def segmenter() -> LungSegmenter:
    return LungSegmenter()


@pytest.fixture
def register(tmp_path, monkeypatch, segmenter):
    """Put networks set by hand into the registry, beside what is registered."""
    known = dict(REGISTERED)
    monkeypatch.setattr(registry, "load_registry", lambda: known)
    monkeypatch.setattr(covid_keras.models, "LungSegmenter", lambda **_: segmenter)  # built and loaded once
    monkeypatch.setattr(covid_keras.models, "build_tiny", build_tiny, raising=False)

    def add(name: str = "tiny", classes=("negative", "COVID-19"), **given) -> WeightEntry:
        shape = given.pop("input_shape", (SIZE, SIZE, 1))
        arguments = given.pop("arguments", {"classes": len(classes)} if len(classes) > 2 else {})
        file = tmp_path / "made" / f"{name}.h5"
        file.parent.mkdir(exist_ok=True)
        save_weights(build_tiny(shape, **arguments), file)
        fields = {"classes": classes, "builder": "build_tiny", "arguments": arguments, "limits": LIMITS}
        known[name] = registered(name, file, shape, **({"preparation": {"crop": "lungs"}} | fields | given))
        return known[name]

    return add


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    """A phantom that holds 0 and 255, so that a DICOM file's stretch leaves it as it is."""
    image = phantom_image(1, (200, 240), "normal", 0).image
    return cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)


@pytest.fixture
def picture(tmp_path, chest):
    return write_image(tmp_path / "chest.png", chest)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


# --- the numbers


def test_the_probability_is_the_networks_on_the_prepared_image(register, segmenter, picture, tmp_path):
    entry = register(threshold=0.2)
    (row,) = predict_files([picture], tmp_path / "out", "tiny").rows
    mask = segmenter.masks([read_image(picture)])[0]
    prepared = prepare_image(picture, mask, Preparation(size=(SIZE, SIZE), crop="lungs"))
    expected = _sigmoid(8 * prepared.mean() / 255 - 4)
    assert 0.2 < expected < 0.8, "the test is to see a wrong scaling, crop or order of classes"
    assert row.probabilities["COVID-19"] == pytest.approx(expected, abs=1e-5)
    assert row.probabilities["negative"] == pytest.approx(1 - expected, abs=1e-5)
    assert row.predicted == "COVID-19"
    assert row.lung_area == (mask > 0).mean()
    rows, columns = np.nonzero(mask)
    assert row.lung_box == (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    assert row.view == crop_box(mask, entry.input_preparation())
    assert row.heat is None


def test_grey_is_repeated_and_scaling_is_the_entrys(register, picture, tmp_path):
    register("one", preparation={"crop": None, "square": True})
    register("three", input_shape=(SIZE, SIZE, 3), preparation={"square": True})
    register("wide", preparation={"square": True}, scaling="0-255")
    found = {name: predict_files([picture], tmp_path / name, name).rows[0] for name in ("one", "three", "wide")}
    assert found["three"].probabilities["COVID-19"] == pytest.approx(found["one"].probabilities["COVID-19"], abs=1e-6)
    assert found["wide"].probabilities["COVID-19"] > 0.999


def test_the_threshold_is_the_models(register, picture, tmp_path):
    register("low", threshold=0.01)
    register("high", threshold=0.99)
    assert predict_files([picture], tmp_path / "low", "low").rows[0].predicted == "COVID-19"
    assert predict_files([picture], tmp_path / "high", "high").rows[0].predicted == "negative"


def test_more_than_two_classes_get_a_probability_each(register, picture, tmp_path, capsys):
    register(classes=("normal", "CAP", "COVID-19"))
    assert main(["predict", str(picture), "--model", "tiny", "--out", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    values = table[["probability_normal", "probability_CAP", "probability_COVID-19"]].to_numpy()[0]
    assert values.sum() == pytest.approx(1, abs=1e-6)
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert table["predicted"][0] == ("normal", "CAP", "COVID-19")[int(values.argmax())]
    said = f"chest.png: normal {values[0]:.3f}, CAP {values[1]:.3f}, COVID-19 {values[2]:.3f}: "
    assert said in capsys.readouterr().out


def test_heat_is_where_the_network_looks(register, segmenter, picture, tmp_path):
    """The map of a network that averages the picture is the picture: its share in the lungs is known."""
    register(preparation={"square": True}, threshold=0.0)
    (row,) = predict_files([picture], tmp_path / "out", "tiny", draw=draw_prediction).rows
    image = read_image(picture)
    mask = segmenter.masks([image])[0]
    assert row.view == (0, 200, 20, 220)
    bright, lungs = image[:, 20:220].astype(float), mask[:, 20:220] > 0
    assert row.heat.in_lungs == pytest.approx(bright[lungs].sum() / bright.sum(), abs=0.01)
    assert row.heat.by_chance == lungs.mean()
    assert abs(row.heat.in_lungs - row.heat.by_chance) > 0.05, "the phantom's lungs are darker than the rest"


def test_no_region_speaks_for_a_class(register, picture, tmp_path):
    """Brightness lowers the score of "negative" alone: no heat, said so, and NaN is no JSON."""
    register(preparation={"square": True}, threshold=1.0)
    found = predict_files([picture], tmp_path / "out", "tiny", draw=draw_prediction)
    assert math.isnan(found.rows[0].heat.in_lungs)
    assert "no region supports negative" in found.lines()[0]
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert record["predictions"][0]["heat_in_lungs"] is None


@pytest.mark.slow
def test_groups_are_as_images_alone(register, chest, tmp_path, monkeypatch):
    register(threshold=0.0)
    paths = [write_image(tmp_path / f"{i}.png", (chest // (i + 1)).astype(np.uint8)) for i in range(3)]
    (alone,) = predict_files(paths[2:], tmp_path / "alone", "tiny", draw=draw_prediction).rows
    monkeypatch.setattr("covid_keras.inference.inputs.GROUP", 2)
    together = predict_files(paths, tmp_path / "out", "tiny", draw=draw_prediction).rows
    assert [row.image for row in together] == paths
    assert len({row.probabilities["COVID-19"] for row in together}) == 3
    assert together[2].probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    assert together[2].heat.in_lungs == pytest.approx(alone.heat.in_lungs, abs=1e-5)


def test_own_weights_take_the_registered_ones_place(register, picture, tmp_path):
    register()
    own = save_weights(build_tiny((SIZE, SIZE, 1), slope=0, bias=math.log(9)), tmp_path / "own.h5")
    found = predict_files([picture], tmp_path / "out", "tiny", own)
    assert found.rows[0].probabilities["COVID-19"] == pytest.approx(0.9, abs=1e-6)
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["sha256"] == sha256_of(own)


# --- lungs and view


@pytest.mark.parametrize(
    "preparation", [Preparation(), Preparation(drop_top=0.08), Preparation(drop_top=0.1, square=True)]
)
@pytest.mark.parametrize("shape", [(201, 140), (90, 155)])
def test_the_view_is_what_the_preparation_cuts(shape, preparation):
    image = np.arange(shape[0] * shape[1]).reshape(shape)
    expected = drop_top(image, preparation.drop_top)
    expected = centre_square(expected) if preparation.square else expected
    np.testing.assert_array_equal(image[view_box(np.ones(shape), preparation).slices], expected)


def test_boxes_of_masks():
    mask = np.zeros((50, 60), np.uint8)
    assert mask_box(mask) == (0, 50, 0, 60)
    assert mask_box(mask).whole
    mask[10:20, 30:31] = 255
    assert mask_box(mask) == (10, 20, 30, 31)
    assert not mask_box(mask).whole
    assert view_box(mask, Preparation(crop="lungs", margin=0, box="inclusive")) == (10, 20, 30, 31)


def _mask(*boxes) -> np.ndarray:
    mask = np.zeros((100, 100), np.uint8)
    for box in boxes:
        mask[box] = 255
    return mask


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (_mask(np.s_[20:80, 10:40], np.s_[20:80, 60:90]), ""),
        (_mask(np.s_[20:80, 10:40], np.s_[40:80, 60:90]), ""),
        (_mask(), "no lungs found"),
        (_mask(np.s_[20:40, 20:30], np.s_[20:40, 60:70]), "lungs too small"),
        (_mask(np.s_[20:80, 20:80]), "not two lungs side by side"),
        (_mask(np.s_[10:40, 10:45], np.s_[60:90, 10:45]), "not two lungs side by side"),
    ],
)
def test_what_is_unlike_a_frontal_radiograph(mask, words):
    assert words in doubt_of(mask)
    assert bool(doubt_of(mask)) == bool(words)


def test_a_picture_without_lungs_is_predicted_whole_and_doubted(register, tmp_path):
    register()
    grey = write_image(tmp_path / "grey.png", np.full((90, 90), 128, np.uint8))
    found = predict_files([grey], tmp_path / "out", "tiny", draw=draw_prediction)
    (row,) = found.rows
    assert row.doubt
    assert row.view.whole == (row.doubt == "no lungs found")
    assert f"DOUBTFUL, {row.doubt}" in found.lines()[0]
    assert (tmp_path / "out" / "grey_heatmap.png").is_file()


# --- the command


@pytest.mark.slow
def test_the_command_says_writes_and_draws(register, picture, tmp_path, capsys):
    entry = register(threshold=0.6)
    out = tmp_path / "out"
    other = write_image(tmp_path / "bright.png", (255 * (read_image(picture) / 255) ** 0.8).astype(np.uint8))
    assert main(["predict", str(picture), str(other), "--model", "tiny", "--heatmap", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    table = pd.read_csv(out / "predictions.csv")
    probabilities = table["probability_COVID-19"]
    assert f"{picture}: COVID-19 {probabilities[0]:.3f}, below the threshold 0.6: negative; " in lines[0]
    assert f"{other}: COVID-19 {probabilities[1]:.3f}, at or above the threshold 0.6: COVID-19; " in lines[1]
    assert f"lungs {100 * table['lung_area'][0]:.0f} % of the picture" in lines[0]
    assert f"{100 * table['heat_in_lungs'][1]:.0f} % of the heat for COVID-19 in the lungs" in lines[1]
    assert lines[2:] == [f"Limits of the network: {LIMITS}", DISCLAIMER, f"Output: {out}"]
    pictures = ["bright_heatmap.png", "chest_heatmap.png"]
    assert sorted(file.name for file in out.iterdir()) == [*pictures, "predictions.csv", "predictions.json"]
    record = json.loads((out / "predictions.json").read_text())
    assert (record["disclaimer"], record["limits"], record["sha256"]) == (DISCLAIMER, LIMITS, entry.sha256)
    assert record["preparation"]["crop"] == "lungs"
    assert record["lungs"]["sha256"] == REGISTERED["lungs_unet16"].sha256
    assert [row["image"] for row in record["predictions"]] == [str(picture), str(other)] == list(table["image"])
    with Image.open(out / "bright_heatmap.png") as drawn:
        assert drawn.size[0] == 1200
        colours = np.asarray(drawn.convert("RGB")).reshape(-1, 3).astype(int)
    assert (np.ptp(colours, axis=1) > 60).sum() > 10_000, "heat, outline and box are in colour"


def test_the_picture_holds_what_it_must():
    image = np.random.default_rng(0).integers(0, 255, (120, 90)).astype(np.uint8)
    mask = np.zeros_like(image)
    mask[30:60, 20:40] = 255
    heat = np.linspace(0, 1, 40 * 60, dtype=np.float32).reshape(60, 40)
    case = Explanation(image, heat, heat, "", "COVID-19", "", 0.9, mask, "chest.png")
    view = LungBox(20, 80, 10, 50)
    figure = prediction_figure(case, view, "COVID-19 0.900", "60 % of the heat", ["A note."])
    said = " ".join([figure.get_suptitle(), figure.get_supxlabel(), *(axes.get_xlabel() for axes in figure.axes)])
    for words in (*DISCLAIMER.split(), "A note.", "COVID-19 0.900", "60 % of the heat", "share of the maximum"):
        assert words in said
    plain, hot, bar = figure.axes
    for axes in (plain, hot):
        assert axes.collections, "the lungs' outline"
        (box,) = axes.patches
        assert (box.get_xy(), box.get_width(), box.get_height()) == ((9.5, 19.5), 40, 60)
    assert bar.get_xlabel() == "heat (share of the maximum)"
    colours = np.ptp(hot.images[0].get_array(), axis=-1)
    assert colours.max() > 100
    outside = np.ones(image.shape, bool)
    outside[view.slices] = False
    assert not colours[outside].any(), "nothing is painted where the network did not look"
    assert not prediction_figure(case, LungBox(0, 120, 0, 90, True), "", "").axes[0].patches


def test_one_picture_in_eight_encodings_has_one_score(register, chest, tmp_path):
    register()
    levels = chest // 2 + 40  # a narrow range: what the file's depth says of it must not count
    deep = levels.astype(np.uint16)
    rgb = np.repeat(deep[..., None], 3, axis=2) * 257
    files = [
        write_image(tmp_path / "8.png", levels),
        write_png(tmp_path / "16.png", deep * 16 + 7),
        write_png(tmp_path / "rgb.png", rgb),
        write_png(tmp_path / "rgba.png", np.dstack([rgb, np.full_like(deep, 65_535)])),
        write_dicom(tmp_path / "a.dcm", levels),
        *(tmp_path / name for name in ("rgb.tif", "float.tif", "a.bmp")),
    ]
    tifffile.imwrite(files[5], rgb, photometric="rgb")
    tifffile.imwrite(files[6], deep.astype(np.float32) / 4095)
    Image.fromarray(levels).save(files[7])
    found = predict_files(files, tmp_path / "out", "tiny").rows
    assert len({tuple(row.probabilities.values()) for row in found}) == 1
    assert len({row.lung_box for row in found}) == 1


# --- the check of the view


@pytest.fixture
def register_view(register):
    """The view network: bright is lateral."""

    def add() -> WeightEntry:
        views = {"classes": ("frontal", "lateral"), "arguments": {"classes": 2}, "preparation": {}, "limits": ""}
        return register("arias_view", **views)

    return add


@pytest.fixture
def dark(tmp_path, chest):
    """What the made view network calls frontal; the phantom itself, brighter than 0.5, is lateral to it."""
    return write_image(tmp_path / "dark.png", np.pad(chest, ((0, 0), (25, 25))))


def test_a_checked_image_is_said_to_be_frontal(register, register_view, dark, tmp_path, capsys):
    register()
    entry = register_view()
    out = tmp_path / "out"
    assert main(["predict", "--check-view", str(dark), "--model", "tiny", "--out", str(out)]) == 0
    mean = cv2.resize(read_image(dark), (SIZE, SIZE), interpolation=cv2.INTER_AREA).mean() / 255
    frontal = 1 - _sigmoid(8 * mean - 4)
    assert frontal > 0.5
    assert f"; view: frontal ({frontal:.3f})" in capsys.readouterr().out.splitlines()[0]
    record = json.loads((out / "predictions.json").read_text())
    assert record["view_network"] == {"name": "arias_view", "sha256": entry.sha256}
    (row,) = record["predictions"]
    assert row["checked_view"] == "frontal"
    assert row["checked_view_probability"] == pytest.approx(frontal, abs=1e-5)
    assert pd.read_csv(out / "predictions.csv")["checked_view"][0] == "frontal"


def test_without_heat_map_and_check_neither_is_said(register, picture, tmp_path):
    register()
    found = predict_files([picture], tmp_path / "out", "tiny")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["predictions.csv", "predictions.json"]
    assert "of the heat" not in found.lines()[0]
    assert "view:" not in found.lines()[0]
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    (row,) = record["predictions"]
    assert (record["view_network"], row["checked_view"], row["checked_view_probability"]) == (None, "", None)


def test_one_line_for_each_refused_image_and_nothing_written(
    register, register_view, picture, dark, chest, tmp_path, capsys
):
    register()
    register_view()
    colours = Image.fromarray(np.stack([chest, np.roll(chest, 60, 1), chest[::-1]], -1))
    colours.save(tmp_path / "photo.png")
    images = [str(tmp_path / "photo.png"), str(dark), str(picture)]
    out = tmp_path / "out"
    assert main(["predict", *images, "--model", "tiny", "--heatmap", "--out", str(out)]) == 2
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert len(lines) == 2
    remedy = "--score-doubtful (in Python: score_doubtful=True)."
    assert lines[0].startswith(f"covid-keras: error: {images[0]}: is not a radiograph: it is in colour. ")
    assert lines[0].endswith(remedy)
    assert lines[1].startswith(f"covid-keras: error: {images[2]}: is a lateral radiograph (probability 0.")
    assert lines[1].endswith(remedy)
    assert not said.out
    assert not out.exists()
    unchecked = ["predict", *images, "--no-check-view", "--model", "tiny", "--out", str(out)]
    assert main(unchecked) == 0, "all are predicted where not checked"


def test_the_check_needs_its_network(register, picture, tmp_path, capsys):
    register()
    registry.load_registry().pop("arias_view", None)
    line = fails(capsys, "predict", picture, "--model", "tiny", "--out", tmp_path / "out")
    assert "--check-view: needs the view network arias_view, which is not registered." in line
    assert not (tmp_path / "out").exists()


def test_what_is_doubtful_gets_a_score_only_where_asked(register, register_view, picture, dark, tmp_path, capsys):
    register()
    register_view()
    command = ["predict", str(dark), str(picture), "--model", "tiny", "--skip-unreadable", "--out"]
    assert main([*command, str(tmp_path / "skipped")]) == 3
    good, bad = pd.read_csv(tmp_path / "skipped" / "predictions.csv").to_dict("records")
    assert isinstance(good["predicted"], str)
    assert "is a lateral radiograph" in bad["error"]
    assert (bad["checked_view"], math.isnan(bad["probability_COVID-19"])) == ("lateral", True)
    assert pd.read_csv(tmp_path / "skipped" / "errors.csv")["image"].tolist() == [str(picture)]
    capsys.readouterr()
    assert main([*command, str(tmp_path / "asked"), "--score-doubtful"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{picture}: DOUBTFUL, a lateral radiograph"), "on top"
    assert f"{picture}: DOUBTFUL" in lines[1]
    rows = pd.read_csv(tmp_path / "asked" / "predictions.csv")
    assert rows["doubt"].str.contains("lateral").tolist()[1]
    assert rows["probability_COVID-19"].notna().all()


def test_the_doubt_is_red_on_a_terminal_alone(monkeypatch):
    assert in_red("doubt") == "doubt"
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "doubt" in in_red("doubt") != "doubt"
    monkeypatch.setenv("NO_COLOR", "1")
    assert in_red("doubt") == "doubt"


def test_a_doubtful_picture_says_so_in_red_and_its_score_small():
    case = Explanation(NOISE, NOISE / 255, NOISE / 255, "", "COVID-19", "", 1.0, np.zeros_like(NOISE), "noise.png")
    whole = LungBox(0, 64, 0, 64, True)
    figure = prediction_figure(case, whole, "COVID-19 1.000", "", alarm="DOUBTFUL, no lungs found")
    assert figure.get_suptitle() == "DOUBTFUL, no lungs found"
    assert figure._suptitle.get_color() == ALARM
    assert "COVID-19 1.000" in figure.get_supxlabel()


# --- files that cannot be used, among others that can


@pytest.fixture
def ward(tmp_path, chest):
    """A folder of four radiographs, one of which is truncated, and of what else lies in folders."""
    folder = tmp_path / "ward"
    for name in ("a.png", "b.png", "deeper/a.png"):
        write_image(folder / name, chest)
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:1500])
    write_dicom(folder / "IM0001", chest)
    write_dicom(folder / "DICOMDIR", chest)
    for name in (".hidden.png", "notes.txt"):
        (folder / name).write_text("no radiograph")
    return folder


def test_the_others_are_predicted_in_folders_like_the_input(register, ward, tmp_path, capsys):
    register()
    out = tmp_path / "out"
    command = ["predict", str(ward), "--model", "tiny", "--no-check-view", "--out", str(out)]
    assert main([*command, "--heatmap", "--skip-unreadable", "--json", "--threads", "2"]) == 3
    said = capsys.readouterr()
    rows = json.loads(said.out)["predictions"]
    assert "Output:" in said.err
    images = [ward / name for name in ("IM0001", "a.png", "b.png", "deeper/a.png")]
    assert [row["image"] for row in rows] == list(map(str, images))
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert len({row["probability_COVID-19"] for row in rows if not row["error"]}) == 1
    pictures = ["IM0001_heatmap.png", "a_heatmap.png", "", "deeper/a_heatmap.png"]
    assert [row["heatmap"] for row in rows] == pictures
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == sorted(filter(None, pictures))
    table = pd.read_csv(out / "predictions.csv", keep_default_na=False)
    assert "truncated" in table["error"][2]
    assert "truncated" in (out / "errors.csv").read_text()
    (ward / "b.png").unlink()
    assert main([*command, "--skip-unreadable"]) == 0
    assert not (out / "errors.csv").exists(), "it would be of an earlier call"


def test_every_bad_file_is_named_where_none_may_be(register, ward, tmp_path, capsys):
    register()
    (ward / "c.png").write_text("")
    for extra in ([], [str(tmp_path / "none.png")]):
        command = ["predict", str(ward), *extra, "--model", "tiny", "--out", str(tmp_path / "out")]
        assert main(command) == 2
        lines = capsys.readouterr().err.splitlines()
        errors = [line for line in lines if line.startswith("covid-keras: error: ")]
        assert [name in error for name, error in zip(["b.png", "c.png", "none.png"], errors, strict=False)] == [
            True
        ] * (2 + len(extra))
        assert not (tmp_path / "out").exists()
    (ward / "c.png").unlink()
    assert main(["predict", str(ward), "--model", "tiny", "--out", str(tmp_path / "deep" / "out"), "--heatmap"]) == 2
    assert not (tmp_path / "deep").exists(), "found only when it is decoded, with heat maps drawn already"


def test_warnings_of_the_reader_are_said(register, picture, tmp_path, monkeypatch):
    register()
    monkeypatch.setattr(inputs, "read_radiograph", lambda path: Radiograph(read_image(path), ("its window is empty",)))
    found = predict_files([picture], tmp_path / "out", "tiny")
    assert found.rows[0].warnings == ("its window is empty",)
    assert "its window is empty" in found.lines()[1]
    assert pd.read_csv(tmp_path / "out" / "predictions.csv")["warnings"][0] == "its window is empty"


def test_names_of_any_kind_stop_nothing(register, chest, tmp_path):
    register()
    names = (b"chest\xff.png", b"$a$\x1b[2J\n.png", b"=1+1.png", b"n" * 251 + b".png")
    paths = [tmp_path / os.fsdecode(name) for name in names]
    for path in paths:
        path.write_bytes(encode_png(chest))
    out = tmp_path / "out"
    found = predict_files(paths, out, "tiny", draw=draw_prediction)
    assert all(line.isprintable() for line in found.lines())
    table = read_table(out / "predictions.csv")
    assert table["image"].tolist() == [row["image"] for row in read_json(out / "predictions.json")["predictions"]]
    assert table["image"].tolist() == list(map(str, paths))
    assert sorted(path.name for path in out.glob("*.png")) == sorted(table["heatmap"])


@pytest.mark.parametrize("more", [[], ["--skip-unreadable"]])
def test_on_a_full_disk_nothing_is_left(register, picture, tmp_path, capsys, more):
    register()
    with full_disk(3000):
        fails(capsys, "predict", picture, "--model", "tiny", "--heatmap", "--out", tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_no_path_is_a_formula(register, picture, tmp_path, monkeypatch):
    register()
    monkeypatch.chdir(tmp_path)
    picture.rename(tmp_path / "=1+1.png")
    predict_files([Path("=1+1.png")], tmp_path / "out", "tiny")
    written = pd.read_csv(tmp_path / "out" / "predictions.csv")["image"][0]
    assert not written.startswith("=")
    assert Path(written).is_file()


# --- what cannot be used


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("not a picture"), "is not a PNG"),
        (lambda path: path.write_bytes(write_image(path, NOISE).read_bytes()[:1500]), "truncated"),
        (lambda path: write_image(path, np.zeros((1, 1), np.uint8)), "1x1"),
        (lambda path: write_image(path, np.zeros((16, 20_000), np.uint8)), "20000"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: None, "does not exist"),
        (lambda path: write_dicom(path, np.zeros((64, 64), np.uint8), "CT"), "is not a radiograph (DICOM modality CT)"),
    ],
)
def test_one_bad_image_among_many_leaves_nothing_behind(register, picture, tmp_path, capsys, make, words):
    register()
    make(tmp_path / "bad.png")
    commands = [["predict", "--model", "tiny", "--heatmap"], *([] if "modality" in words else [["segment"]])]
    for command in commands:
        line = fails(capsys, *command, "--out", tmp_path / "out", picture, tmp_path / "bad.png")
        assert "bad.png" in line
        assert words in line
        assert not (tmp_path / "out").exists()


def test_unknown_models_name_the_known(register, picture, capsys, tmp_path):
    register("tiny")
    register("other")
    line = fails(capsys, "predict", picture, "--model", "tyni", "--out", tmp_path / "out")
    assert "--model tyni" in line
    assert line.rstrip().endswith("tiny, other.")
    assert "cannot be used for prediction" in fails(
        capsys, "predict", picture, "--model", "lungs_unet16", "--out", tmp_path / "out"
    )


def test_weights_that_are_missing_altered_or_anothers(register, picture, capsys, tmp_path):
    entry = register()
    given = (picture, "--model", "tiny", "--out", tmp_path / "out")
    other = save_weights(build_tiny((SIZE, SIZE, 3)), tmp_path / "other.h5")
    for file, words in ((tmp_path / "there.h5", "cannot be read"), (other, "has shape"), (picture, "HDF5")):
        line = fails(capsys, "predict", *given, "--weights", file)
        assert f"{file}: " in line
        assert words in line
    for fields, words in (
        ({"sha256": "0" * 64}, "is not the registered file"),
        ({"file": f"{entry.file}.none"}, "is missing"),
        ({"ships": False, "url": "https://example.org/t.h5", "file": "never.h5"}, "covid-keras weights download tiny"),
    ):
        register(**fields)
        assert words in fails(capsys, "predict", *given)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(register, picture, capsys, tmp_path):
    register()
    (tmp_path / "file").write_text("")
    assert "cannot be written" in fails(
        capsys, "predict", picture, "--model", "tiny", "--out", tmp_path / "file" / "out"
    )


# --- the registry


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"preparation": {"crop": "longs"}}, "'longs' is unknown"),
        ({"preparation": {"corp": "lungs"}}, "Did you mean 'crop'"),
        ({"preparation": {"size": [64, 64]}}, "preparation.size and input_shape differ"),
        ({"preparation": {"enhance": "stack"}}, "tiny: .*3 channels.*1"),
        ({"classes": ("COVID-19",)}, "fewer than two classes"),
        ({"builder": ""}, "has no builder"),
        ({"preparation": {}}, "has no preparation of its input"),
    ],
)
def test_entries_that_contradict_themselves(register, fields, words):
    with pytest.raises(UserError, match=words):
        RegisteredNetwork(register(**fields))


def test_the_registry_lists_what_predicts(register):
    before = predictive_models()
    register("tiny")
    register("mute", preparation={})
    assert predictive_models() == (*before, "tiny")
    assert find_model("tiny").input_preparation().size == (SIZE, SIZE), "the size is that of input_shape"


@pytest.mark.slow
def test_every_registered_model_that_predicts_is_whole():
    for name in predictive_models():
        entry = REGISTERED[name]
        assert entry.input_preparation().needs_mask in (False, True)
        assert entry.limits, f"{name} must say what it cannot tell"
        assert entry.card
        assert entry.builder in covid_keras.models.__all__
        if entry.ships:
            Predictor(RegisteredNetwork(find_model(name))).load()


@pytest.mark.real
def test_a_real_radiograph_as_png_as_dicom_and_through_the_training_pipeline(register, real_data, tmp_path):
    """The same probability whatever the file, and that of the pipeline which networks are trained and tested with."""
    preparation = {"frame": [64, 64], "crop": "lungs", "margin_pixels": 2, "dilate": [5, 1], "enhance": "stack"}
    entry = register(input_shape=(SIZE, SIZE, 3), preparation=preparation)
    source = sorted((real_data / "covid-chestxray-dataset" / "images").glob("*.jpg"))[3]
    image = cv2.normalize(read_image(source), None, 0, 255, cv2.NORM_MINMAX)  # as DICOM files are stretched
    paths = [write_image(tmp_path / "real.png", image), write_dicom(tmp_path / "real.dcm", image)]
    png, dicom = predict_files(paths, tmp_path / "out", "tiny").rows
    assert png.probabilities == dicom.probabilities
    row = {"image_id": "made/0", "path": str(paths[0]), "patient_id": "made/0", "source": "made", "label": "N"}
    cohort = segment_cohort(Cohort(pd.DataFrame([row]), ("N", "P"), "made"), tmp_path / "cache")[0]
    prepared = prepare_cohort(cohort, entry.input_preparation(), tmp_path / "cache")
    batches = make_dataset(prepared, [0], scaling="0-1")
    expected = build_tiny((SIZE, SIZE, 3)).predict(batches, verbose=0)[0, 0]
    assert png.probabilities["COVID-19"] == pytest.approx(float(expected), abs=1e-6)
