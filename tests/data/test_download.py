"""Downloads against a local server, and archives that try to escape."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import shutil
import socket
import stat
import tarfile
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import covid_keras.data.download as module
from covid_keras import __version__
from covid_keras.common.errors import UserError
from covid_keras.data.download import download, safe_unpack

CONTENT = bytes(range(256)) * 2000


@dataclass
class Item:
    url: str
    sha256: str | None = hashlib.sha256(CONTENT).hexdigest()
    file_name: str = "file.bin"
    unpack: bool = False
    strip_top: bool = False


class Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes] = {}  # noqa: RUF012
    asked: list[tuple[str, str]] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append((self.path, self.headers["User-Agent"]))
        if self.path == "/cut-once" and sum(path == self.path for path, _ in self.asked) > 1:
            self._send(CONTENT, len(CONTENT))
        elif self.path.startswith("/cut"):
            self._send(CONTENT[:1000], len(CONTENT))
        elif self.path in self.files:
            self._send(self.files[self.path], len(self.files[self.path]))
        else:
            self.send_error(404)

    def _send(self, body: bytes, declared: int):
        self.send_response(200)
        self.send_header("Content-Length", str(declared))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.files, Handler.asked = {"/file": CONTENT}, []
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}"
    listener.shutdown()
    thread.join()
    listener.server_close()


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(item, folder, *words, **options):
    with pytest.raises(UserError) as caught:
        download(item, folder, **options)
    text = str(caught.value)
    assert "\n" not in text
    for word in (item.url, *words):
        assert word in text
    assert not folder.exists(), names(folder)


def test_download_good_file_once_with_our_user_agent(tmp_path, server):
    path = download(Item(f"{server}/file"), tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert download(Item(f"{server}/file"), tmp_path / "a" / "b") == path
    assert Handler.asked == [("/file", f"covid-keras/{__version__}")]
    path.write_bytes(b"spoilt")  # a damaged file of ours is fetched again
    download(Item(f"{server}/file"), tmp_path / "a" / "b")
    assert path.read_bytes() == CONTENT


def test_download_wrong_hash_is_removed(tmp_path, server):
    refused(Item(f"{server}/file", sha256="0" * 64), tmp_path / "new", "does not have the SHA-256 000", "by hand")
    assert len(Handler.asked) == 3  # two retries


def test_download_wrong_hash_keeps_what_else_is_there(tmp_path, server):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="SHA-256"):
        download(Item(f"{server}/file", sha256="0" * 64), tmp_path, retries=0)
    assert names(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize("sha256", [Item("").sha256, None])
def test_download_cut_connection_leaves_nothing(tmp_path, server, sha256):
    item = Item(f"{server}/cut", sha256=sha256)
    refused(item, tmp_path / "new", "connection was", "again", unverified=True, retries=0)


def test_download_retry_mends_a_cut_connection(tmp_path, server):
    assert download(Item(f"{server}/cut-once"), tmp_path).read_bytes() == CONTENT


def test_download_404(tmp_path, server):
    refused(Item(f"{server}/none"), tmp_path / "new", "answered 404", "new address", retries=0)


def test_download_refused_connection(tmp_path, server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(
        Item(f"http://127.0.0.1:{port}/file"),
        tmp_path / "new",
        f"127.0.0.1:{port} cannot be reached",
        "Check the network",
        retries=0,
    )


def test_download_without_digest_only_when_asked(tmp_path, server):
    item = Item(f"{server}/file", sha256=None)
    refused(item, tmp_path / "new", "could not be verified")
    assert download(item, tmp_path, unverified=True).read_bytes() == CONTENT


def test_download_disk_full_and_unwritable(tmp_path, server, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        download(Item(f"{server}/file"), tmp_path / "file" / "below")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pooch.core.shutil.move", full)
    with pytest.raises(UserError, match="the disk is full, nothing was kept"):
        download(Item(f"{server}/file"), tmp_path / "new")
    assert names(tmp_path) == ["file"]


def test_download_unpacks_beside_the_archive(tmp_path, server):
    Handler.files["/a.zip"] = make_zip({"images/1.txt": b"one"})
    digest = hashlib.sha256(Handler.files["/a.zip"]).hexdigest()
    item = Item(f"{server}/a.zip", sha256=digest, file_name="a.zip", unpack=True)
    assert download(item, tmp_path) == download(item, tmp_path) == tmp_path / "a"
    assert names(tmp_path) == ["a", "a.zip", "a/images", "a/images/1.txt"]
    assert len(Handler.asked) == 1


def test_download_strips_the_one_folder_of_an_archive(tmp_path, server):
    Handler.files["/a.zip"] = make_zip({"repo-master/images/1.txt": b"one", "repo-master/table.csv": b"two"})
    item = Item(f"{server}/a.zip", sha256=None, file_name="repo.zip", unpack=True, strip_top=True)
    assert download(item, tmp_path, unverified=True) == tmp_path / "repo"
    assert names(tmp_path / "repo") == ["images", "images/1.txt", "table.csv"]
    Handler.files["/b.zip"] = make_zip({"one/1.txt": b"one", "two.txt": b"two"})
    item = Item(f"{server}/b.zip", sha256=None, file_name="b.zip", unpack=True, strip_top=True)
    with pytest.raises(UserError, match="one top-level folder"):
        download(item, tmp_path, unverified=True)
    assert not (tmp_path / "b").exists()


def test_download_unverified_archive_that_is_damaged_is_fetched_anew(tmp_path, server):
    Handler.files["/a.zip"] = b"PK\x03\x04 cut"
    item = Item(f"{server}/a.zip", sha256=None, file_name="a.zip", unpack=True)
    with pytest.raises(UserError, match="damaged or truncated"):
        download(item, tmp_path, unverified=True)
    assert names(tmp_path) == []


# ---------------------------------------------------------------------------------- archives


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


def make_tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as bundle:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                bundle.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                bundle.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def unpack_refused(archive: Path, *words) -> None:
    """Refused, and nothing new anywhere below or beside the target."""
    before = names(archive.parent)
    with pytest.raises(UserError) as caught:
        safe_unpack(archive, archive.parent / "box" / "out")
    for word in (archive.name, *words):
        assert word in str(caught.value)
    shutil.rmtree(archive.parent / "box", ignore_errors=True)
    assert names(archive.parent) == before


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_download_unpack_tar(tmp_path, mode):
    archive = make_tar(
        tmp_path / "good",
        ("a/1.txt", b"one"),
        ("a/2.txt", b"two"),
        special("a/link.txt", tarfile.SYMTYPE, "1.txt"),
        mode=mode,
    )
    assert safe_unpack(archive, tmp_path / "out") == tmp_path / "out"
    assert (tmp_path / "out/a/link.txt").read_bytes() == b"one"
    assert names(tmp_path) == ["good", "out", "out/a", "out/a/1.txt", "out/a/2.txt", "out/a/link.txt"]


def test_download_unpack_zip_into_an_empty_folder_only(tmp_path):
    (tmp_path / "a.zip").write_bytes(make_zip({"x/y.txt": b"y", "z.txt": b"z"}))
    (tmp_path / "out").mkdir()
    safe_unpack(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out/x/y.txt").read_bytes() == b"y"
    with pytest.raises(UserError, match="already exists"):
        safe_unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    ["../evil.txt", "a/../../evil.txt", "/tmp/evil-absolute.txt", "..\\evil.txt", "C:\\evil.txt", "\\\\host\\evil.txt"],
)
def test_download_unpack_refuses_escaping_names(tmp_path, name):
    word = "absolute" if name[0] in "/C\\" else "outside the folder"
    (tmp_path / "evil.zip").write_bytes(make_zip({"good.txt": b"", name: b"evil"}))
    unpack_refused(tmp_path / "evil.zip", word)
    unpack_refused(make_tar(tmp_path / "evil.tar.gz", ("good.txt", b""), (name, b"evil")), word)
    assert not os.path.lexists("/tmp/evil-absolute.txt")


@pytest.mark.parametrize(
    "members",
    [
        (special("out", tarfile.SYMTYPE, "../../target"),),
        (special("out", tarfile.SYMTYPE, "/etc"),),
        (special("out", tarfile.SYMTYPE, "../.."), ("out/evil.txt", b"evil")),
        (special("out", tarfile.LNKTYPE, "../../target"),),
        (special("out", tarfile.LNKTYPE, "/etc/passwd"),),
        (special("out", tarfile.CHRTYPE),),
        (special("out", tarfile.FIFOTYPE),),
    ],
)
def test_download_unpack_refuses_links_out_and_devices(tmp_path, members):
    unpack_refused(make_tar(tmp_path / "evil.tar.gz", ("good.txt", b"good"), *members), "'out'")


def test_download_unpack_refuses_links_in_zip(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as bundle:
        bundle.writestr(link, "/etc/passwd")
    unpack_refused(tmp_path / "evil.zip", "is a link")


def test_download_unpack_damaged_archives(tmp_path):
    noise = os.urandom(50_000)
    content = make_zip({"a.bin": noise})
    (tmp_path / "cut.zip").write_bytes(content[:30_000])
    unpack_refused(tmp_path / "cut.zip", "damaged or truncated")
    flipped = bytearray(content)
    flipped[25_000] ^= 255
    (tmp_path / "flipped.zip").write_bytes(flipped)
    unpack_refused(tmp_path / "flipped.zip", "damaged or truncated")
    whole = make_tar(tmp_path / "whole.tar.gz", ("a.bin", noise))
    (tmp_path / "cut.tar.gz").write_bytes(whole.read_bytes()[:30_000])
    unpack_refused(tmp_path / "cut.tar.gz", "damaged or truncated")
    (tmp_path / "page.zip").write_text("<html>sign in</html>")
    unpack_refused(tmp_path / "page.zip", "neither a zip nor a tar")
    with pytest.raises(UserError, match="does not exist"):
        safe_unpack(tmp_path / "none.zip", tmp_path / "out")


def test_download_unpack_without_space(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(make_zip({"a.txt": b"a" * 10_000}))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=9_999))
    with pytest.raises(UserError, match="the disk is full, nothing was kept"):
        safe_unpack(tmp_path / "a.zip", tmp_path / "out")
    assert names(tmp_path) == ["a.zip"]
