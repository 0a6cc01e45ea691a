"""What was asked for, checked and resolved before any work is done."""

from __future__ import annotations

import hashlib

import h5py
import pytest

from covid_keras.commands.main import make_parser
from covid_keras.commands.reproduce import _banner
from covid_keras.common.errors import UserError
from covid_keras.common.files import locked
from covid_keras.models.imagenet import IMAGENET_NOTOP_MD5
from covid_keras.paper.registered import load_paper
from covid_keras.training import preparing
from covid_keras.training.plan import choose_profile, make_plan, missing_systems, other_files, print_counts, settings_of
from tests.helpers.collections import make_covidgr
from tests.helpers.refusals import refused


@pytest.fixture
def paper():
    return load_paper("tabik")


def test_another_file_than_the_published_is_named(paper, tmp_path):
    file = tmp_path / "vgg.h5"
    file.write_bytes(b"other weights")
    given = paper.protocol("paper", {"files": {"vgg16": str(file), "resnet18": str(file)}})
    assert other_files(paper, given) == {"vgg16": "vgg16 from another file than vgg16_notop"}


@pytest.mark.parametrize("text", ["split", "=3", "a..b=1", "split.folds=[1"])
def test_settings_that_are_none_get_one_line(text):
    refused("--set", settings_of, [text])


def test_settings_are_nested_and_typed():
    given = ["options.cit.lambda_=0.05", "options.cit.frozen=false", "systems=[fucitnet]"]
    assert settings_of(given) == {"options": {"cit": {"lambda_": 0.05, "frozen": False}}, "systems": ["fucitnet"]}


def test_what_is_done_is_not_left_out(paper, tmp_path):
    """The authors' file may be removed after its row was run."""
    protocol = paper.protocol("smoke", {"systems": ["covidnet_pretrained", "resnet50_crop"]})
    assert missing_systems(paper, protocol, None, tmp_path) == {"covidnet_pretrained": "checkpoint not obtainable"}
    record = tmp_path / "executions" / "covidnet_pretrained" / "repeat0-fold0" / "execution.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    assert missing_systems(paper, protocol, None, tmp_path) == {}


def test_keras_own_file_counts_as_imagenet(paper, tmp_path, monkeypatch):
    file = tmp_path / "any_name.h5"
    file.write_bytes(b"weights")
    changed = paper.protocol("paper", {"weights": str(file)})
    assert "any_name.h5" in other_files(paper, changed)["weights"]
    digest = hashlib.md5(b"weights").hexdigest()
    monkeypatch.setattr("covid_keras.models.imagenet.IMAGENET_NOTOP_MD5", {digest: "ResNet50"})
    assert other_files(paper, changed) == {}


def test_the_md5_is_keras_own():
    from keras.src.applications.resnet import WEIGHTS_HASHES

    assert WEIGHTS_HASHES["resnet50"][1] in IMAGENET_NOTOP_MD5


def test_counts_of_the_collections_that_are_there_are_printed(paper, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("covid_keras.training.plan.check_source", lambda name, data: [("images", 852, 100)])
    print_counts(paper, paper.protocol("paper"), tmp_path)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("covid_keras.training.plan.missing_collection", lambda names, data: None)
    print_counts(paper, paper.protocol("paper"), tmp_path)
    assert "covidgr: images: expected 852, found 100" in capsys.readouterr().out


def test_a_data_folder_that_holds_nothing_does_not_end_in_the_phantom(paper, tmp_path, monkeypatch):
    assert choose_profile(paper, None) == choose_profile(paper, tmp_path) == "smoke"
    refused(r"covid_sdnet \(paper: no COVIDGR-1.0", choose_profile, paper, tmp_path, asked=True)


@pytest.mark.parametrize(
    ("of_paper", "of_cpu", "chosen"),
    [(13, 13, "paper"), (7, 13, "paper"), (6, 13, "cpu"), (6, 0, "paper"), (1, 2, "cpu"), (0, 1, "cpu")],
)
def test_the_profile_is_the_most_demanding_with_half_of_its_images(
    paper, tmp_path, monkeypatch, of_paper, of_cpu, chosen
):
    there = {"paper": of_paper, "cpu": of_cpu}

    def missing(self, protocol, data):
        return dict.fromkeys(protocol.systems[there[protocol.profile] :], "no images")

    monkeypatch.setattr(type(paper), "missing_images", missing)
    assert choose_profile(paper, tmp_path, asked=True) == chosen


def test_an_ensemble_without_members_counts_as_missing(tmp_path):
    hertel = load_paper("hertel_ensemble")
    make_covidgr(tmp_path, ["N/N0", "P/P0"], "P0,MILD")
    missing = hertel.missing_images(hertel.protocol("paper"), tmp_path)
    assert missing["average_gr"] == missing["vgg19_gr"]
    assert "Darwin" in missing["average_gr"], "no masks for the ResUNet"
    refused("lacks the images of every profile", choose_profile, hertel, tmp_path, asked=True)


# --- weight files that are given by name


@pytest.fixture
def plan_of(tmp_path, monkeypatch):
    """Return a function that resolves a command line of `reproduce tabik` on the phantom, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COVID_KERAS_DATA", raising=False)

    def plan(*arguments: str):
        return make_plan(make_parser().parse_args(["reproduce", "tabik", "--profile", "smoke", *arguments]))

    return plan


def test_weight_files_are_given_by_name(plan_of, tmp_path):
    (tmp_path / "net.npz").write_bytes(b"weights")
    h5py.File(tmp_path / "a=b.h5", "w").close()
    files = plan_of(
        "--set", "options.width=1", "--checkpoint", "resnet18=net.npz", "--checkpoint", "covidnet=a=b.h5"
    ).protocol.files
    assert files == {"resnet18": str(tmp_path / "net.npz"), "covidnet": str(tmp_path / "a=b.h5")}
    assert plan_of().protocol.files == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("net.npz", r"--checkpoint net\.npz: .*NAME=FILE.*resnet18, vgg16"),
        ("resnet=net.npz", r"--checkpoint resnet: .*resnet18 \(ImageNet ResNet-18"),
        ("resnet18=gone.npz", r"--checkpoint resnet18=gone\.npz: is not a file"),
        ("resnet18=", "--checkpoint resnet18=: is not a file"),
        ("=net.npz", "--checkpoint : "),
    ],
)
def test_wrong_weight_files_are_one_line(plan_of, tmp_path, given, words):
    (tmp_path / "net.npz").write_bytes(b"weights")
    refused(words, plan_of, "--checkpoint", given)
    assert not (tmp_path / "runs").exists(), "nothing is made for a command that is wrong"


# --- every --set takes effect or is an error


@pytest.mark.parametrize("paper", ["tabik", "haghanifar", "arias", "hertel"])
@pytest.mark.parametrize("profile", ["paper", "cpu", "smoke"])
def test_what_the_command_sets_for_all_holds_for_all(paper, profile):
    found = load_paper(paper)
    given = ["training.epochs=31", "training.optimizer.learning_rate=0.5", "split.seed=77"]
    changed, written = found.protocol(profile, settings_of(given)), found.protocol(profile)
    for name in changed.systems:
        training, before = (found.system(name).training(one) for one in (changed, written))
        assert (training.epochs, training.optimizer.learning_rate) == (31, 0.5)
        assert training.optimizer.name == before.optimizer.name
        assert changed.split_of(found.system(name).split).seed == 77


def test_what_the_command_sets_for_one_holds_for_that_one(paper):
    given = settings_of(["training.epochs=31", "trainings.fucitnet.epochs=5", "trainings.fucitnet.patience=3"])
    protocol = paper.protocol("cpu", given)
    assert protocol.training_of("fucitnet").epochs == 5
    assert protocol.training_of("fucitnet").stop == "val_loss"
    assert protocol.training_of("covid_sdnet").epochs == 31


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["profile=cpu"], "--set profile: .*--profile"),
        (["paper=arias"], "--set paper: "),
        (["files.resnet18=x.npz"], "--set files.resnet18: .*--checkpoint"),
        (
            ["systems=[resnet50_full]", "trainings.fucitnet.epochs=3"],
            "--set trainings.fucitnet.epochs: .*resnet50_full",
        ),
        (["systems=[resnet50_full]", "options.cit.lambda_=0.1"], "--set options.cit.lambda_: .*fucitnet"),
        (["systems=[covid_caps_pretrained]", "training.epochs=3"], "--set training.epochs: .*is trained"),
        (["systems=[fucitnet]", "training.optimizer.momentum=0.5"], "momentum: .*adam has no momentum"),
        (["training.unfreeze.epochs=3"], "--set training.unfreeze.epochs: "),
        (["systems=[fucitnet]", "training.patience=900"], "--set training.patience: "),
        (["tolerance=5"], "--set tolerance: .*fixed"),
        (["systems=[resnet50_full]", "training.optimizer.epsilon=0.1"], "epsilon: .*sgd has no epsilon"),
        (
            ["systems=[resnet50_full]", "training.optimizer.momentum=0", "training.optimizer.nesterov=true"],
            "nesterov: ",
        ),
        (["training.augmentation.fill=reflect", "systems=[resnet50_full]"], "augmentation.fill: .*nothing is rotated"),
        (["trainings.fucitnet.optimizer.decay=0.1", "systems=[fucitnet]"], "decay: .*classifier_step"),
        (["trainings.fucitnet.schedule=cosine"], "schedule: .*classifier_step"),
        (["trainings.fucitnet.label_smoothing=0.1"], "fucitnet.label_smoothing: "),
        (["trainings.covid_caps_retrained.label_smoothing=0.1"], "label_smoothing: .*margin loss"),
        (["trainings.covidnet_retrained.label_smoothing=0.1"], "label_smoothing: .*COVIDNet"),
        (
            ["systems=[covidnet_pretrained]", "options.covidnet.positive_share=0.5"],
            "positive_share: .*covidnet_retrained",
        ),
        (["systems=[covid_caps_retrained]", "size=[99, 99]"], "--set size: .*own size"),
        (["systems=[fucitnet]", "options.cit.perceptual=0.1"], "perceptual: .*vgg16=FILE"),
        (["split.scheme=folds", "split.folds=2", "split.test=0.3"], "--set split.test: .*fold"),
        (["training.epochs=3", "training.epochs=4"], "overlaps"),
        (["training.optimizer={name: adam}", "training.optimizer.name=sgd"], "overlaps"),
        (["weights=none"], "--set weights: contradicts"),
    ],
)
def test_a_setting_without_effect_is_refused(plan_of, tmp_path, given, words):
    more = ("--weights", "none") if given == ["weights=none"] else ()
    refused(words, plan_of, *(part for text in given for part in ("--set", text)), *more)
    assert not (tmp_path / "runs").exists()


def test_divisions_that_no_system_uses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["reproduce", "haghanifar", "--profile", "smoke", "--set", "systems=[base_v1]", "--set"]
    refused("--set splits.binary.seed: .*small", make_plan, make_parser().parse_args([*given, "splits.binary.seed=3"]))
    assert make_plan(make_parser().parse_args([*given, "splits.small.seed=3"])).protocol.split_of("small").seed == 3


# --- what cannot be run here


def _only(paper, monkeypatch, missing: dict[str, str]):
    """The paper, of whose systems those named lack what they need."""
    for kind in {type(system) for system in paper.systems}:
        monkeypatch.setattr(kind, "missing", lambda self, protocol, data: missing.get(self.name))
    return paper


def test_what_cannot_be_run_is_left_out_with_what_builds_on_it(paper, monkeypatch):
    protocol = paper.protocol("smoke")
    assert missing_systems(_only(paper, monkeypatch, {}), protocol, None) == {}
    both = _only(paper, monkeypatch, {"fucitnet": "no generators", "covid_sdnet": "other"})
    assert missing_systems(both, protocol, None) == {"fucitnet": "no generators", "covid_sdnet": "no generators"}
    one = _only(paper, monkeypatch, {"covid_sdnet": "no twins"})
    assert list(missing_systems(one, protocol, None)) == ["covid_sdnet"]
    none = _only(paper, monkeypatch, dict.fromkeys(protocol.systems, "no weights"))
    refused("profile 'smoke': .*no weights", missing_systems, none, protocol, None)


def test_the_command_names_what_is_left_out(plan_of):
    plan = plan_of("--set", "systems=[covidnet_pretrained, resnet50_full]")
    assert plan.protocol.systems == ("covidnet_pretrained", "resnet50_full")
    assert plan.settings["left_out"] == {"covidnet_pretrained": "checkpoint not obtainable"}
    assert "Left out: COVIDNet-CXR (pretrained): checkpoint not obtainable" in _banner(plan)
    refused("checkpoint not obtainable", plan_of, "--set", "systems=[covidnet_pretrained]")


def test_settings_that_do_not_fit_the_images_leave_no_folder(plan_of, tmp_path, monkeypatch):
    def unfit(plan):
        (plan.cache / "made").mkdir(parents=True)
        with locked(plan.out, wait=True):
            raise UserError("split", "does not fit", "Change it")

    monkeypatch.setattr(preparing, "_prepared_run", unfit)
    plan = plan_of("--out", str(tmp_path / "runs" / "out"))
    assert not plan.out.exists()
    refused("does not fit", preparing.prepare_run, plan)
    assert not plan.out.exists()
    assert not plan.cache.exists()
    (plan.cache / "masks").mkdir(parents=True)
    (plan.out / "mine").mkdir(parents=True)
    refused("does not fit", preparing.prepare_run, plan)
    assert (plan.cache / "masks").exists(), "what took time stays"
    assert (plan.out / "mine").exists()
