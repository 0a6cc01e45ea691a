"""Download public files with SHA-256 verification, and unpack archives safely."""

from __future__ import annotations

import contextlib
import errno
import logging
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol
from urllib.parse import urlsplit

import pooch
import requests

from covid_keras import __version__
from covid_keras.common.errors import UserError
from covid_keras.common.files import require_writable_folder
from covid_keras.common.progress import open_bar

# Zenodo throttles the user agents of download libraries.
USER_AGENT = f"covid-keras/{__version__}"

_TIMEOUT = 60  # seconds without a byte
_CHUNK = 1 << 16
_ARCHIVE_SUFFIXES = (".tar.gz", ".tar.xz", ".tar.bz2", ".tgz", ".tar", ".zip")
_BROKEN_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)


class Item(Protocol):
    """A file to download: `covid_keras.data.sources.Download`, or any object with its attributes."""

    url: str
    sha256: str | None
    file_name: str
    unpack: bool
    strip_top: bool


def download(item: Item, folder: str | Path, *, unverified: bool = False, retries: int = 2) -> Path:
    """Download a file, check its SHA-256, and unpack it if requested.

    An existing file with the right digest is not downloaded again, and an unpacked archive not unpacked again.

    Parameters
    ----------
    item : object
        Has `url`, `sha256` (hexadecimal, or None if not pinned), `file_name`, `unpack` and `strip_top`.
    folder : str or Path
        Target folder, created if missing.
    unverified : bool
        Accept an item without a digest.
    retries : int
        Number of retries, at least a second apart.

    Returns
    -------
    Path
        The file `folder/file_name`. For an item to unpack, the folder of its contents: the same path without the
        archive suffix.

    Raises
    ------
    UserError
        If the item has no digest and `unverified` is false; the server cannot be reached or returns an error; the
        connection is interrupted; the digest differs; the disk is full or the folder is not writable; the archive is
        damaged or unsafe. No partial file is left.
    """
    folder, path = Path(folder), Path(folder) / item.file_name
    if item.sha256 is None and not unverified:
        remedy = f"Add --unverified to download it anyway, or download it by hand to {path}"
        raise UserError(item.url, "has no registered SHA-256, so the download could not be verified", remedy)
    is_new = not folder.exists()
    require_writable_folder(path.parent)
    try:
        _fetch(item, folder, retries)
    except (requests.exceptions.RequestException, ValueError, OSError) as error:
        if is_new:
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # only if empty
        raise _fetch_error(item, path, error) from error
    path.chmod(0o644)  # pooch leaves it private to this user
    if not item.unpack:
        return path
    suffix = next(
        (end for end in _ARCHIVE_SUFFIXES if path.name.lower().endswith(end) and len(path.name) > len(end)), ""
    )
    target = path.with_name(path.name[: -len(suffix)] if suffix else f"{path.name}.contents")
    try:
        return target if target.is_dir() else safe_unpack(path, target, strip_top=item.strip_top)
    except UserError:
        if item.sha256 is None:
            path.unlink()  # without a digest the next call would trust this archive
        raise


def _fetch(item: Item, folder: Path, retries: int) -> None:
    pooch.get_logger().setLevel(logging.WARNING)
    digest = None if item.sha256 is None else f"sha256:{item.sha256.lower()}"
    store = pooch.create(
        folder.absolute(),
        base_url="",
        registry={item.file_name: digest},
        urls={item.file_name: item.url},
        retry_if_failed=retries,
    )
    # pooch tests the truth value of the bar, which needs a total, before it sets the total.
    with open_bar(desc=item.file_name, total=1, unit="B", unit_scale=True) as bar:
        fetcher = pooch.HTTPDownloader(
            progressbar=bar, chunk_size=_CHUNK, timeout=_TIMEOUT, headers={"User-Agent": USER_AGENT}
        )
        store.fetch(item.file_name, downloader=fetcher)


def _fetch_error(item: Item, path: Path, error: Exception) -> UserError:
    by_hand, again = f"download it by hand to {path}", "Run the same command again"
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        problem = f"the server answered {error.response.status_code} ({error.response.reason})"
        return UserError(item.url, problem, f"Look for the new address, and {by_hand}")
    # An interrupted connection raises ConnectionError or ChunkedEncodingError.
    if isinstance(error, requests.exceptions.ChunkedEncodingError) or "IncompleteRead" in str(error):
        return UserError(item.url, "the connection was interrupted, nothing was kept", again)
    if isinstance(error, requests.exceptions.RequestException):
        problem = f"{urlsplit(item.url).netloc} cannot be reached ({type(error).__name__})"
        return UserError(item.url, problem, f"Check the network and its proxy, or {by_hand}")
    if isinstance(error, OSError):
        return _disk_error(path, error)
    problem = f"the download does not have the SHA-256 {item.sha256} and was removed"
    return UserError(item.url, problem, f"{again}; if the error persists, the file has changed: {by_hand}")


def _disk_error(path: Path, error: OSError) -> UserError:
    if error.errno == errno.ENOSPC:
        return UserError(path, "the disk is full, nothing was kept", "Free some space or choose another folder")
    problem = f"cannot be written ({error.strerror or error})"
    return UserError(path, problem, "Choose another folder or change its permissions")


def safe_unpack(archive: str | Path, folder: str | Path, *, strip_top: bool = False) -> Path:
    """Unpack a zip or tar archive (plain, gz, bz2, xz) atomically into a new folder.

    Parameters
    ----------
    archive : str or Path
        The archive; its type is detected from its content.
    folder : str or Path
        Target folder; must be missing or empty.
    strip_top : bool
        Unpack the contents of the archive's only top-level folder directly into `folder`.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    UserError
        If a member has an absolute path or one with "..", or is a device, a pipe or a link out of the folder (in a zip:
        any link); the archive is missing, damaged, encrypted or of another type, or has several top-level entries to be
        stripped; `folder` is not empty; the disk is full. `folder` is then not changed.
    """
    archive, folder = Path(archive), Path(folder)
    unpack = _unpacker(archive)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(folder, "already exists", "Remove it, or choose another folder")
    require_writable_folder(folder.parent)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unpacking-"))
    try:
        inner = beside / "contents"
        inner.mkdir()
        unpack(archive, inner)
        if strip_top:
            found = list(inner.iterdir())
            if len(found) != 1 or not found[0].is_dir() or found[0].is_symlink():
                raise UserError(archive, "must contain exactly one top-level folder", "Unpack it by hand")
            inner = found[0]
        if folder.exists():
            folder.rmdir()
        inner.rename(folder)
    except _BROKEN_ARCHIVE as error:
        raise UserError(archive, f"the archive is damaged or truncated ({error})", "Download it again") from error
    except OSError as error:
        raise _disk_error(folder, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _unpacker(archive: Path) -> Callable[[Path, Path], None]:
    if not archive.is_file():
        raise UserError(archive, "does not exist", "Check the path")
    with archive.open("rb") as stream:  # is_zipfile also accepts zips appended to other files
        if stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06"):
            return _unpack_zip
    try:
        if tarfile.is_tarfile(archive):
            return _unpack_tar
    except _BROKEN_ARCHIVE as error:
        raise UserError(archive, f"the archive is damaged or truncated ({error})", "Download it again") from error
    raise UserError(archive, "is neither a zip nor a tar archive", "Download it again")


def _unsafe(archive: Path, name: str, why: str) -> UserError:
    remedy = "Do not use this archive; download it from the official address"
    return UserError(archive, f"its member '{name}' {why}, so nothing was unpacked", remedy)


def _check_name(archive: Path, name: str) -> None:
    windows = PureWindowsPath(name)
    if name.startswith("/") or windows.root or windows.drive:
        raise _unsafe(archive, name, "has an absolute path")
    if ".." in PurePosixPath(name).parts or ".." in windows.parts:
        raise _unsafe(archive, name, "would be written outside the folder")


def _check_space(target: Path, needed: int) -> None:
    if needed > shutil.disk_usage(target).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _unpack_zip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as bundle:
        members = bundle.infolist()
        for member in members:
            _check_name(archive, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(archive, member.filename, "is a link or a device")
            if member.flag_bits & 1:
                raise UserError(archive, "the archive is encrypted", "Unpack it by hand with its password")
        _check_space(target, sum(member.file_size for member in members))
        try:
            bundle.extractall(target)
        except NotImplementedError as error:
            raise UserError(archive, f"its compression is not supported ({error})", "Unpack it by hand") from error


def _unpack_tar(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as bundle:
        members = list(_checked_members(archive, bundle))
        _check_space(target, sum(member.size for member in members))
        try:
            # The filter checks links as they resolve while unpacking.
            bundle.extractall(target, members=members, filter="data")
        except tarfile.FilterError as error:
            raise _unsafe(archive, error.tarinfo.name, "is a link that leaves the folder, or a device") from error


def _checked_members(archive: Path, bundle: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in bundle:
        _check_name(archive, member.name)
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise _unsafe(archive, member.name, "is a device or a pipe")
        yield member
