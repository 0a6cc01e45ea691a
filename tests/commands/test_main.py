"""The command: one clear line and status 2 for what cannot be used, fast help, nothing half-written."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from covid_keras import __version__
from covid_keras.commands.main import main, make_parser
from covid_keras.common.errors import UserError
from covid_keras.common.provenance import git_revision
from covid_keras.common.quiet import grow_memory
from tests.commands.test_cheap_commands import COMMANDS
from tests.helpers.command import fails

ACTIONS = [["weights", name] for name in ("list", "check", "add", "download", "convert", "export")]
ACTIONS += [["data", name] for name in ("list", "check", "download", "overlap")]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), *ACTIONS])
def test_every_command_explains_itself_on_a_screen_examples_first(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert 0 < text.index("examples:") < text.index("options:")
    assert text.count("\n") <= 40


def test_the_package_is_the_command():
    command = [sys.executable, "-m", "covid_keras"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"covid-keras {__version__}\n"
    assert subprocess.run([*command, "repoduce"], capture_output=True, check=False).returncode == 2


def test_papers_lists_what_can_be_reproduced(capsys):
    assert main(["papers"]) == 0
    out = capsys.readouterr().out
    assert "covid_sdnet (also: tabik)" in out
    assert "paper, cpu, smoke" in out


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A working folder without any data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COVID_KERAS_DATA", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce", "tabic"], ["tabic", "covid_sdnet (tabik)"]),
        (["reproduce", "tabik", "--profile", "gpu"], ["has no profile 'gpu'", "paper, cpu, smoke"]),
        (["reproduce", "tabik", "--profile", "paper"], ["has no system to run", "no data folder"]),
        (["reproduce", "tabik", "--data", "nowhere"], ["--data nowhere", "is not a folder"]),
        (["reproduce", "tabik", "--shard", "3/2"], ["--shard 3/2", "1 <= i <= n"]),
        (["reproduce", "tabik", "--jobs", "0"], ["--jobs", "at least 1 (got 0)"]),
        (["reproduce", "tabik", "--jobs", "2", "--dask", "a:1"], ["--jobs", "Dask workers"]),
        (["reproduce", "tabik", "--strategy", "many"], ["--strategy many", "auto, one, mirrored, tpu"]),
        (["reproduce", "tabik", "--precision", "int8"], ["--precision int8", "float32, bf16, fp16"]),
        (["reproduce", "tabik", "--weights", "none.h5"], ["--weights none.h5", "is not a file"]),
        (["reproduce", "tabik", "--out", "file/run"], ["file/run", "cannot be written"]),
        (["predict", "empty"], ["empty", "is a folder without"]),
        (["segment", "none.png"], ["none.png", "does not exist"]),
        (["segment", "none.png", "--threads", "0"], ["--threads", "at least 1 (got 0)"]),
        (["report", "empty"], ["is not a run folder"]),
        (["ensemble", "file"], ["file", "is not a readable CSV table"]),
        (["audit", "file.yaml"], ["file.yaml", "cannot be read"]),
        (["audit", "tabic"], ["tabic", "Known: "]),
        (["audit", "tabik", "--out", "empty"], ["--out empty", "is a folder"]),
        (["data", "check"], ["data folder", "not found"]),
        (["data", "check", "--data", "empty"], ["empty", "holds no"]),
        (["data", "download", "imagenet"], ["imagenet", "not a known source"]),
        (["data", "overlap", "--data", "empty", "--out", "file/pairs.csv"], ["holds no collection"]),
        (["train-lungs", "--data", "empty"], ["does not contain"]),
    ],
)
def test_what_cannot_be_used_gets_one_line(capsys, nowhere, arguments, words):
    (nowhere / "file").write_text("")
    (nowhere / "empty").mkdir()
    line = fails(capsys, *arguments)
    for word in words:
        assert word in line
    assert sorted(path.name for path in nowhere.iterdir()) in (["empty", "file"], ["empty", "file", "runs"])


def test_an_empty_path_is_not_the_current_folder(capsys, nowhere):
    with pytest.raises(SystemExit) as caught:
        main(["predict", ""])
    assert caught.value.code == 2
    assert "PATH: the path is empty" in capsys.readouterr().err


def test_level_of_logging(capsys, monkeypatch, nowhere):
    monkeypatch.setenv("COVID_KERAS_LOG", "debug")
    assert main(["papers"]) == 0
    monkeypatch.setenv("COVID_KERAS_LOG", "loud")
    assert "COVID_KERAS_LOG=loud: is not a log level. Set it to debug" in fails(capsys, "papers")


def test_only_reproduce_says_that_it_goes_on(capsys, monkeypatch, nowhere):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("covid_keras.commands.data.list_sources", interrupt)
    assert main(["data", "list"]) == 130
    assert capsys.readouterr().err == "covid-keras: interrupted\n"
    monkeypatch.setattr("covid_keras.commands.reproduce.reproduce", interrupt)
    assert main(["reproduce", "tabik"]) == 130
    assert "the same command again" in capsys.readouterr().err


def test_home_is_understood_in_every_path(monkeypatch, nowhere):
    monkeypatch.setenv("HOME", str(nowhere))
    parser = make_parser()
    found = parser.parse_args(["reproduce", "tabik", "--out=~/run", "--cache=~/cache", "--weights=~/w.h5"])
    assert (found.out, found.cache, found.weights) == (nowhere / "run", nowhere / "cache", f"{nowhere}/w.h5")
    found = parser.parse_args(["segment", "~/a.png", "--out=~/lungs", "--weights=~/w.h5"])
    assert (found.images, found.out, found.weights) == ([nowhere / "a.png"], nowhere / "lungs", f"{nowhere}/w.h5")
    assert parser.parse_args(["reproduce", "tabik", "--weights", "imagenet"]).weights == "imagenet"


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(UserError("a.png", "is no image", "Give one")))
    assert (error.subject, error.problem, error.remedy) == ("a.png", "is no image", "Give one")
    assert str(error) == "a.png: is no image. Give one."


def test_gpus_share_their_memory(monkeypatch):
    import tensorflow as tf

    grown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu0", "gpu1"] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu, on)))
    grow_memory()
    assert grown == [("gpu0", True), ("gpu1", True)]


def test_revision_is_this_projects_or_unknown(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True)

    package = tmp_path / "covid_keras"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "setup.cfg").write_text("")
    assert git_revision(tmp_path) == "unknown", "no repository"
    git("init")
    (tmp_path / "other.txt").write_text("")
    git("add", "other.txt")
    git("commit", "-m", "theirs")
    assert git_revision(tmp_path) == "unknown", "a repository that does not hold the package"
    git("add", ".")
    git("commit", "-m", "ours")
    assert len(git_revision(tmp_path)) == 12
    (package / "__init__.py").write_text("edited")
    assert git_revision(tmp_path).endswith("+changes")
    assert git_revision(package) == "unknown", "below the root"

    def hang(*arguments, **options):
        raise subprocess.TimeoutExpired("git", 20)

    monkeypatch.setattr("covid_keras.common.provenance.subprocess.run", hang)
    assert git_revision(tmp_path) == "unknown"


def test_a_misspelt_protocol_key_is_named(capsys, nowhere, monkeypatch):
    from covid_keras.paper.registered import load_paper

    paper = load_paper("tabik")
    changed = nowhere / "protocol.yaml"
    changed.write_text(paper.protocol_path.read_text().replace("patience: 16", "patiense: 16"))
    monkeypatch.setitem(paper.__dict__, "protocol_path", changed)
    line = fails(capsys, "reproduce", "tabik", "--profile", "cpu")
    assert "unknown key 'patiense' in training" in line
    assert "Did you mean 'patience'" in line
