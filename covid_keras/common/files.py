"""Checked reads, atomic writes, fingerprints and folder locks."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from filelock import FileLock, Timeout

from covid_keras.common.errors import UserError

_LOCK = ".lock"
_CHUNK = 1 << 20
_LONGEST_SUFFIX = 16
# How the names of temporary files and folders begin.
_UNFINISHED = ".writing-"
# Largest files of each kind, in bytes; see `covid_keras.data.sniff` and `covid_keras.models.weight_kinds` for others.
MOST_YAML = 2 << 20
MOST_JSON = 64 << 20
MOST_TABLE = 512 << 20
MOST_SIDECAR = 1 << 16  # a hash beside a file
# Nesting of YAML and JSON.
MOST_DEPTH = 50
# The key of a record's hash of itself.
_CHECKSUM = "checksum"

_log = logging.getLogger(__name__)


# Read once at import: reading the umask means setting it, which is not thread-safe.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path and rename it to `path` on success.

    Parameters
    ----------
    path : str or Path
        The file to write. Missing parent folders are created. The temporary name keeps the suffixes, because
        libraries choose the format by suffix.

    Raises
    ------
    UserError
        If the folder is not writable or the disk is full. No temporary file is left, and an existing file at `path`
        is not changed.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = "".join(one for one in path.suffixes[-2:] if len(one) <= _LONGEST_SUFFIX)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED, suffix=suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private; results should have the usual permissions.
        os.chmod(temporary, 0o666 & ~_UMASK)
        os.replace(temporary, path)
    except OSError as error:
        raise _as_user_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _as_user_error(path: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(path, "the disk is full, nothing was written", "Free some space or choose another --out")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        problem = f"cannot be written ({error.strerror})"
        return UserError(path, problem, "Choose another --out or change its permissions")
    return UserError(path, f"could not be written ({error})", "Check the path and the disk")


def require_writable_folder(folder: str | Path) -> Path:
    """Create `folder` and check that it is writable; raise `UserError` if not."""
    folder = Path(folder)
    probe = folder / ".writable"
    with atomic_path(probe) as temporary:
        temporary.write_bytes(b"")
    probe.unlink(missing_ok=True)
    return folder


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder; no other process may be writing there."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        path.unlink()


@contextlib.contextmanager
def staged(folder: str | Path) -> Iterator[Path]:
    """Write several files atomically: yield a temporary folder and move its files into `folder` on success.

    On failure, no new file or folder is left. Raises `UserError` if the folder is not writable.
    """
    folder = Path(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    stage: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=folder, prefix=_UNFINISHED))
        yield stage
        for file in sorted(path for path in stage.rglob("*") if path.is_file()):
            target = folder / file.relative_to(stage)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    except OSError as error:
        raise _as_user_error(folder, error) from error
    except UserError as error:
        if stage is None or not error.subject.startswith(str(stage)):
            raise
        raise UserError(folder / Path(error.subject).relative_to(stage), error.problem, error.remedy) from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()


def require_own_files(folder: str | Path) -> None:
    """Check a folder that may come from elsewhere before anything in it is written or removed.

    Raises `UserError` if it holds a link that leads out of it, or what is neither a file nor a folder.
    """
    inside = os.path.realpath(folder)
    for place, folders, names in os.walk(folder):
        for path in (os.path.join(place, name) for name in (*folders, *names)):
            try:
                mode = os.lstat(path).st_mode
            except OSError:  # removed meanwhile, by a training
                continue
            if stat.S_ISLNK(mode) and not f"{os.path.realpath(path)}/".startswith(f"{inside}/"):
                raise UserError(path, f"is a link that leads out of {folder}", "Replace it by what it leads to")
            if not (stat.S_ISLNK(mode) or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(path, "is neither a file nor a folder", "Remove it")


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder in place of "~"; a user who does not exist is left as given."""
    return Path(os.path.expanduser(path))


@contextlib.contextmanager
def locked(folder: str | Path, wait: bool) -> Iterator[None]:
    """Hold the lock of a folder, the file `.lock`, for the duration of the block.

    The lock is advisory. The operating system releases it when the process dies.

    Parameters
    ----------
    folder : str or Path
        Created if missing.
    wait : bool
        If another process or thread holds the lock: wait and log a warning, or raise.

    Raises
    ------
    UserError
        If the lock is taken and `wait` is false, or the folder is not writable.
    """
    folder = Path(folder)
    lock = FileLock(folder / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            if not wait:
                raise UserError(folder, "is in use by another process", "Wait for it to finish, or stop it") from error
            _log.warning("%s is in use by another process; waiting for it", folder)
            lock.acquire()
    except OSError as error:
        raise _as_user_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically; return the path. Undecodable bytes, as of a file's name, are escaped."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    return Path(path)


def json_text(value: Any) -> str:
    """Return `value` as indented JSON that can be written and shown.

    Control characters and undecodable bytes are escaped as JSON escapes them, so that reading gives the same text.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` atomically as indented JSON with a final newline; return the path."""
    return write_text(path, json_text(value) + "\n")


def require_file(path: str | Path, most: int | None = None) -> None:
    """Check a file before it is opened: reading a named pipe waits forever, and a device may have no end.

    Parameters
    ----------
    path : str or Path
    most : int, optional
        Largest size in bytes.

    Raises
    ------
    UserError
        If the path does not exist, is a folder, a named pipe, a socket or a device, or is larger than `most`.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise UserError(path, "cannot be read (it does not exist)", "Check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        why = getattr(error, "strerror", None) or error
        raise UserError(path, f"cannot be read ({why})", "Check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise UserError(path, "cannot be read (it is a folder)", "Give the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(path, "cannot be read (it is not a regular file)", "Give the file itself")
    if most is not None and status.st_size > most:
        problem = f"is too large ({status.st_size:,} bytes; a file of this kind has at most {most:,})"
        raise UserError(path, problem, "Check that it is the right file")


def read_bytes(path: str | Path, most: int) -> bytes:
    """Return the bytes of a file of at most `most` bytes; raise `UserError` as `require_file`, or if unreadable."""
    require_file(path, most)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check its permissions") from error


# The remedy for a damaged file where a caller knows no better one.
REMEDY = "Correct it, or get the original file again"


def read_json(path: str | Path, remedy: str = REMEDY) -> Any:
    """Read JSON; raise `UserError` if the file is missing, too large, not valid JSON or nested too deep."""
    try:
        value = json.loads(read_bytes(path, MOST_JSON).decode("utf-8"))
        if _deeper(value, MOST_DEPTH):
            raise RecursionError
    except RecursionError as error:
        problem = f"is nested more than {MOST_DEPTH} levels deep"
        raise UserError(path, problem, remedy) from error
    except ValueError as error:
        raise UserError(path, f"is not valid JSON ({error})", remedy) from error
    return value


def _deeper(value: Any, most: int) -> bool:
    """Return whether lists and mappings are nested more than `most` deep."""
    level = [value]
    for _ in range(most + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def write_record(path: str | Path, record: dict[str, Any]) -> Path:
    """Write a JSON mapping with a hash of itself, which `read_record` checks; return the path."""
    return write_json(path, record | {_CHECKSUM: fingerprint(json.loads(json.dumps(record)))})


def read_record(path: str | Path, keys: tuple[str, ...] = (), remedy: str = REMEDY) -> dict[str, Any]:
    """Read a JSON mapping.

    Raises `UserError` if one of `keys` is missing, or the mapping is not the one that `write_record` wrote.
    """
    record = read_json(path, remedy)
    if not isinstance(record, dict):
        raise UserError(path, "must contain a JSON mapping", remedy)
    recorded = record.pop(_CHECKSUM, None)  # not in files of version 0.1
    if recorded is not None and recorded != fingerprint(record):
        raise UserError(path, "was changed or damaged after it was written", remedy)
    for key in keys:
        if key not in record:
            raise UserError(path, f"lacks the key {key!r}", remedy)
    return record


# The Cache Directory Tagging Specification, https://bford.info/cachedir/.
_CACHE_TAG = "CACHEDIR.TAG"
_CACHE_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"


def mark_cache(folder: str | Path) -> None:
    """Create a cache folder, marked as such by `CACHEDIR.TAG`; raise `UserError` if it cannot be written."""
    if not is_cache(folder):
        write_text(Path(folder) / _CACHE_TAG, f"{_CACHE_SIGNATURE}\n# Cache of covid_keras; it may be deleted.\n")


def is_cache(folder: str | Path) -> bool:
    """Return whether a folder is marked as a cache."""
    try:
        return read_bytes(Path(folder) / _CACHE_TAG, _CHUNK).startswith(_CACHE_SIGNATURE.encode())
    except UserError:
        return False


def cache_folder() -> Path:
    """Return the suite's cache folder, below XDG_CACHE_HOME or else ~/.cache; it may not exist yet.

    A relative XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification requires.
    """
    given = expanded(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else expanded("~") / ".cache") / "covid_keras"


def digest_of(path: str | Path, algorithm: str) -> str:
    """Return the hexadecimal digest of a file's bytes; raise `UserError` if it cannot be read."""
    require_file(path)
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, algorithm).hexdigest()
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check its permissions") from error


def sha256_of(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes; raise `UserError` if it cannot be read."""
    return digest_of(path, "sha256")


def require_intact(path: str | Path, recorded: str, remedy: str) -> None:
    """Raise `UserError` unless a file has the recorded SHA-256; "" accepts any."""
    try:
        intact = not recorded or sha256_of(path) == recorded
    except UserError as error:
        raise UserError(path, error.problem, remedy) from error
    if not intact:
        raise UserError(path, "was changed or damaged after it was written", remedy)


def fingerprint(value: Any) -> str:
    """Return a short stable key (16 hexadecimal digits) of a JSON-serialisable value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def without_paths(text: str) -> str:
    """Return a text with every absolute path in it reduced to its file name.

    >>> without_paths("no PadChest in /home/me/data; C:\\\\me\\\\a.csv is empty (1/2)")
    'no PadChest in data; a.csv is empty (1/2)'
    """
    return re.sub(r"(?<![^\s'\"(])(?:[A-Za-z]:)?[/\\](?:[^\s/\\]+[/\\])*(?=\S)", "", text)


def without_folders(value: Any) -> Any:
    """Return a JSON-serialisable value with every absolute path reduced to its file name.

    >>> without_folders({"weights": "/home/me/resnet50.h5", "cache": ["C:\\\\me\\\\cache"], "note": "a / b"})
    {'weights': 'resnet50.h5', 'cache': ['cache'], 'note': 'a / b'}
    """
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if (path := kind(value)).is_absolute():
                return path.name
    return value
