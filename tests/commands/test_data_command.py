"""`covid-keras data ...` and `covid-keras weights ...`: what is there, what should be, what a person must do."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import importlib
import io
import threading
import zipfile

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.commands.data import overlap_lines
from covid_keras.commands.main import main
from covid_keras.data.cohort import Cohort
from covid_keras.data.locations import VARIABLE, find_data
from covid_keras.data.phantom import make_phantom
from covid_keras.data.sources import SOURCES, load_source
from covid_keras.models import registry
from covid_keras.models.registry import REGISTRY
from tests.helpers.command import fails


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A working folder without any data, and no variable that names one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def _covidgr(folder):
    """COVIDGR-1.0 in little: two negatives, three positives, severities of two."""
    rng = np.random.default_rng(0)
    for name in ("N/a", "N/b", "P/c", "P/d", "P/e"):
        path = folder / "COVIDGR-1.0" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (40, 40)).astype(np.uint8))
    (folder / "COVIDGR-1.0" / "severity.csv").write_text("Name,Severity\nc,MILD\nd,SEVERE\n")
    return folder


# --- data list


def test_list_prints_licence_and_how_to_get_each_collection(capsys):
    assert main(["data", "list"]) == 0
    out = " ".join(capsys.readouterr().out.split())  # as if it had not been wrapped; no name may be torn apart
    for name, source in SOURCES.items():
        card = source
        assert f"{name}: {card.title}" in out
        for value in (card.licence, card.access, card.layout, card.citation):
            assert " ".join(value.split()) in out
    assert out.count("here: not found") == len(SOURCES)
    assert "no folder (none found)" in out


def test_list_fits_a_terminal_and_says_where_a_collection_is(capsys, nowhere):
    _covidgr(nowhere / "radiographs")
    assert main(["data", "list", "--data", "radiographs"]) == 0
    out = capsys.readouterr().out
    assert f"here: {nowhere / 'radiographs' / 'COVIDGR-1.0'}" in " ".join(out.split())
    assert out.count("not found") == len(SOURCES) - 1
    lines = [line for line in out.splitlines() if " " in line.strip() and not line.startswith("Output")]
    assert max(len(line) for line in lines if "://" not in line and "/tmp" not in line) <= 110


# --- where the data are


def test_data_are_looked_for_in_order(nowhere, monkeypatch):
    assert find_data(None) is None
    for name in ("data", "variable", "given"):
        (nowhere / name).mkdir()
    assert find_data(None) == nowhere / "data"
    monkeypatch.setenv(VARIABLE, "variable")
    assert find_data(None) == nowhere / "variable"
    assert find_data(nowhere / "given") == nowhere / "given"


def test_a_misspelt_folder_is_not_passed_over(capsys, nowhere, monkeypatch):
    (nowhere / "data").mkdir()
    assert "--data radiograhps: is not a folder" in fails(capsys, "data", "list", "--data", "radiograhps")
    monkeypatch.setenv(VARIABLE, "radiograhps")
    assert f"{VARIABLE} radiograhps: is not a folder" in fails(capsys, "data", "check")


# --- data check


def test_check_counts_and_says_what_differs(capsys, nowhere):
    _covidgr(nowhere / "data")
    assert main(["data", "check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "covidgr: N: expected 426, found 2  DIFFERS" in lines
    assert "covidgr: Severe: expected 79, found 1  DIFFERS" in lines
    assert lines[-1] == f"Output: {nowhere / 'data'} checked, 6 counts differ"


def test_check_of_a_whole_collection_ends_well(capsys, nowhere):
    make_phantom(nowhere / "data" / "phantom", composition={"normal": 2, "covid": 1}, size=48, follow_ups=0.0)
    assert main(["data", "check", "phantom"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "phantom: patients: expected 3, found 3" in lines
    assert lines[-1].endswith("checked, 0 counts differ")


def test_check_names_what_is_missing_or_unknown(capsys, nowhere):
    _covidgr(nowhere / "data")
    assert "cohan: is not a known source. Choose one of covidgr, cohen" in fails(capsys, "data", "check", "cohan")
    line = fails(capsys, "data", "check", "cohen")
    assert "does not contain COVID-19 Image Data Collection (cohen)" in line
    assert "Clone https://github.com/ieee8023/covid-chestxray-dataset" in line
    (nowhere / "data" / "COVIDGR-1.0" / "severity.csv").write_text("Name,Severity\nzz,MILD\n")
    assert "image 'zz'" in fails(capsys, "data", "check", "covidgr")
    make_phantom(nowhere / "data" / "phantom", composition={"normal": 2}, size=48, follow_ups=0.0)
    assert main(["data", "check", "covidgr", "phantom"]) == 2
    said = capsys.readouterr()
    assert "image 'zz'" in said.err
    assert "phantom: patients: expected 2, found 2" in said.out, "one that is unreadable does not hide the others"


@pytest.mark.real
def test_check_of_the_real_collections_ends_well(real_data, capsys):
    assert main(["data", "check", "cohen", "darwin_v7", "covid_cxnet", "chestxray14", "--data", str(real_data)]) == 0
    out = capsys.readouterr().out
    assert "DIFFERS" not in out
    assert "cohen: severity scores: expected 93, found 93" in out
    assert "darwin_v7: frontal X-rays with a mask: expected 453, found 453" in out


# --- data download, data overlap


@pytest.mark.parametrize("name", ["covidgr", "chestxray14"])
def test_what_needs_a_person_is_said(capsys, name):
    line = fails(capsys, "data", "download", name)
    assert "cannot be downloaded" in line
    assert f"covid-keras data check {name}" in line


class _Archives(http.server.BaseHTTPRequestHandler):
    """Serves one archive at every address, as GitHub does: without a length that is known before."""

    archive = b""
    asked = 0

    def do_GET(self):
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.archive)

    def log_message(self, *arguments):
        pass


def _jpeg() -> bytes:
    return cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8))[1].tobytes()


ARCHIVES = {
    "covid_cxnet": {
        "COVID-CXNet-master/chest_xray_images/covid19/1.jpg": _jpeg(),
        "COVID-CXNet-master/chest_xray_images/covid19/2-p.jpg": _jpeg(),
        "COVID-CXNet-master/metadata.csv": b"filename,patient_id,view\n1.jpg,7,PA\n",
    },
    "cohen": {
        "covid-chestxray-dataset-master/images/a.jpg": _jpeg(),
        "covid-chestxray-dataset-master/metadata.csv": b"patientid,finding,view,modality,filename\n"
        b"2,Pneumonia/Viral/COVID-19,PA,X-ray,a.jpg\n",
    },
}


@pytest.fixture
def serve(monkeypatch):
    """Return a function that serves a made archive of a source in place of GitHub."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    _Archives.asked = 0
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Archives)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def start(name: str) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as bundle:
            for member, content in ARCHIVES[name].items():
                bundle.writestr(member, content)
        _Archives.archive = buffer.getvalue()
        source = SOURCES[name]
        (item,) = source.downloads
        here = dataclasses.replace(item, url=f"http://127.0.0.1:{listener.server_port}/master.zip")
        module = importlib.import_module(f"covid_keras.data.sources.{name}")
        monkeypatch.setattr(module, "SOURCE", dataclasses.replace(source, downloads=(here,)))
        return _Archives.archive

    yield start
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("covid_cxnet", "covid_cxnet: images: expected 898, found 2  DIFFERS"),
        ("cohen", "cohen: frontal COVID-19: expected 367, found 1  DIFFERS"),
    ],
)
def test_download_fetches_unpacks_and_counts(capsys, nowhere, serve, name, line):
    archive = serve(name)
    assert main(["data", "download", name, "--unverified", "--data", "new/folder"]) == 0
    out = capsys.readouterr().out
    assert f"sha256 {hashlib.sha256(archive).hexdigest()}" in out
    assert line in out
    folder = SOURCES[name].locate(nowhere / "new" / "folder")
    assert f"Output: {folder} downloaded" in out
    assert load_source(name, nowhere / "new" / "folder").counts()["COVID-19"] > 0
    assert main(["data", "download", name, "--unverified", "--data", "new/folder"]) == 0
    assert "was there already" in capsys.readouterr().out
    assert _Archives.asked == 1


def test_download_without_a_digest_must_be_asked_for(capsys, nowhere, serve):
    serve("cohen")
    line = fails(capsys, "data", "download", "cohen", "--data", "new")
    assert "cohen: has no pinned SHA-256" in line
    assert "Add --unverified" in line
    assert list(nowhere.iterdir()) == []
    assert _Archives.asked == 0


def test_nothing_is_fetched_where_one_of_several_needs_a_person(capsys, nowhere, serve):
    serve("cohen")
    line = fails(capsys, "data", "download", "cohen", "covidgr", "--unverified", "--data", "new")
    assert "covidgr: cannot be downloaded" in line
    assert list(nowhere.iterdir()) == []
    assert _Archives.asked == 0


def test_addresses_are_githubs():
    """One archive a repository, kept under a name that `locate` knows once it is unpacked."""
    for name in ARCHIVES:
        card = SOURCES[name]
        (item,) = card.downloads
        assert item.url == f"{card.url}/archive/refs/heads/master.zip"
        assert item.sha256 is None
        assert "no SHA-256 can be pinned" in card.access


def test_overlap_is_not_searched_for_in_vain(capsys, nowhere, monkeypatch):
    _covidgr(nowhere / "data")
    monkeypatch.setattr("covid_keras.data.duplicates.find_duplicates", lambda *given: pytest.fail("searched"))
    (nowhere / "file").write_text("")
    assert "cannot be written" in fails(capsys, "data", "overlap", "covidgr", "--out", "file/pairs.csv")
    assert "is a folder" in fails(capsys, "data", "overlap", "covidgr", "--out", "data")


def test_overlap_counts_pairs_within_and_between():
    ids = ["a/1", "a/2", "a/3", "b/1", "b/2"]
    table = pd.DataFrame({"image_id": ids, "patient_id": ["a/p", "a/p", "a/q", "b/p", "b/q"]})
    table = table.assign(source=table["image_id"].str[0], path=[f"/{i}" for i in ids], label="x")
    pairs = pd.DataFrame(
        [("a/1", "a/2", "a", "a"), ("a/1", "a/3", "a", "a"), ("a/1", "b/2", "a", "b"), ("a/2", "b/2", "a", "b")],
        columns=["image_id_a", "image_id_b", "source_a", "source_b"],
    )
    cohort = Cohort(table, ("x",), "both")
    assert overlap_lines(cohort, pairs) == [
        "within a: 2 pairs, 3 of 3 images; 1 pairs across patients",
        "a and b: 2 pairs, 2 of 3 and 1 of 2 images",
    ]
    assert overlap_lines(cohort, pairs.iloc[:0]) == ["no near-duplicates among 5 images"]


def test_overlap_writes_the_pairs(capsys, nowhere):
    _covidgr(nowhere / "data")
    folder = nowhere / "data" / "COVIDGR-1.0"
    (folder / "P" / "e.jpg").write_bytes((folder / "N" / "a.jpg").read_bytes())
    assert main(["data", "overlap", "covidgr", "--out", "pairs.csv"]) == 0
    assert "within covidgr: 1 pairs, 2 of 5 images; 1 pairs across patients" in capsys.readouterr().out
    pairs = pd.read_csv(nowhere / "pairs.csv")
    assert pairs[["image_id_a", "image_id_b"]].to_numpy().tolist() == [["covidgr/a", "covidgr/e"]]


def test_overlap_takes_folders_of_ones_own_and_names_what_it_leaves_out(capsys, nowhere):
    folder = _covidgr(nowhere) / "COVIDGR-1.0"
    (folder / "P" / "again.jpg").write_bytes((folder / "N" / "a.jpg").read_bytes())
    (folder / "P" / "bad.jpg").write_bytes(b"no image")
    assert main(["data", "overlap", "COVIDGR-1.0/N", "COVIDGR-1.0/P", "--out", "pairs.csv"]) == 0
    out = capsys.readouterr().out
    assert "COVIDGR-1.0/N and COVIDGR-1.0/P: 1 pairs, 1 of 2 and 1 of 5 images" in out
    assert "left out: COVIDGR-1.0/P/bad.jpg" in out
    assert main(["data", "overlap", "COVIDGR-1.0", "--out", "pairs.csv"]) == 0
    assert "across patients" not in capsys.readouterr().out, "of folders the patients are not known"
    assert "neither a collection nor a folder" in fails(capsys, "data", "overlap", "cohan")


def test_overlap_of_nothing_says_so(capsys, nowhere):
    (nowhere / "data").mkdir()
    assert "holds no collection to compare" in fails(capsys, "data", "overlap")


# --- weights


def test_weights_are_listed_with_origin_and_licence(capsys):
    assert main(["weights", "list"]) == 0
    out = capsys.readouterr().out
    assert f"Output: {REGISTRY}" in out
    for entry in registry.load_registry().values():
        assert entry.name in out
        assert entry.origin in out
        assert entry.licence in out


def test_shipped_weights_are_the_registered_ones(capsys):
    assert main(["weights", "check"]) == 0
    out = capsys.readouterr().out
    shipped = [entry for entry in registry.load_registry().values() if entry.ships]
    assert shipped
    assert out.count("sha256 as registered") == len(shipped)
    for entry in shipped:
        assert entry.path.stat().st_size == entry.bytes
