"""Plan and write a whole phantom collection: patients, images, masks, table, settings."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

from covid_keras.common.errors import UserError
from covid_keras.common.progress import progress
from covid_keras.common.settings import read_yaml
from covid_keras.common.tables import read_table, table_text
from covid_keras.data.cohort import severity_level
from covid_keras.data.phantom.drawing import stream
from covid_keras.data.phantom.opacities import MAX_EXTENT
from covid_keras.data.phantom.sample import HOSPITALS, LABELS, VIEWS, phantom_image

logger = logging.getLogger(__name__)

GENERATOR_VERSION = 1  # increase when the same seed gives another picture
METADATA, SETTINGS = "metadata.csv", "phantom.yaml"
FOLDERS = ("images", "masks", "opacities")
# Shares of COVIDGR-1.0's positives: 76, 100, 171 and 79 of 426 (Tabik et al. 2020, section III).
TABIK_SEVERITIES = {"Normal-PCR+": 0.18, "Mild": 0.23, "Moderate": 0.40, "Severe": 0.19}
_EXTENTS = {"Normal-PCR+": (0,), "Mild": (1, 2), "Moderate": (3, 4, 5), "Severe": (6, 7, 8)}
_CAP_EXTENTS, _CAP_SHARES = (1, 2, 3, 4, 5), (0.25, 0.30, 0.25, 0.15, 0.05)
_MAX_VISITS = 4
_PLAN = 11  # stream number: who is in the collection


@dataclass(frozen=True)
class PhantomSettings:
    """Settings of a phantom collection.

    Parameters
    ----------
    composition : mapping label -> patients
        "normal", "cap", "covid".
    seed : int
        The same seed gives the same collection, at any number of workers.
    size : int
        Pixels per side.
    severities : mapping level -> share
        Of the "covid" patients' first images; default as in COVIDGR-1.0.
    views : mapping view -> share
        "PA", "AP", "L"; default PA only.
    hospitals : mapping hospital -> share
        Default half "A", half "B".
    follow_ups : float
        Probability that a patient has one more image, up to four.
    markers : float
        Probability of a burnt-in marker ("R" in hospital A, "L" in B, "PORTABLE" in AP views).
    hospital_shortcut, marker_shortcut : float
        Probability that the label alone decides the hospital (normal A, others B) or whether there is a
        marker (normal none, others one). 0: the label plays no part.

    Raises
    ------
    UserError
        If names are unknown or shares invalid.
    """

    composition: dict[str, int]
    seed: int = 0
    size: int = 256
    severities: dict[str, float] = field(default_factory=lambda: dict(TABIK_SEVERITIES))
    views: dict[str, float] = field(default_factory=lambda: {"PA": 1.0})
    hospitals: dict[str, float] = field(default_factory=lambda: {"A": 0.5, "B": 0.5})
    follow_ups: float = 0.2
    markers: float = 0.5
    hospital_shortcut: float = 0.0
    marker_shortcut: float = 0.0

    def __post_init__(self) -> None:
        for what, shares, known in (
            ("composition", self.composition, LABELS), ("severities", self.severities, tuple(_EXTENTS)),
            ("views", self.views, VIEWS), ("hospitals", self.hospitals, HOSPITALS),
        ):  # fmt: skip
            unknown = [key for key in shares if key not in known]
            if unknown:
                raise UserError("phantom", f"unknown {what} {unknown[0]!r}", f"Known are: {', '.join(known)}")
            if any(share < 0 for share in shares.values()) or sum(shares.values()) <= 0:
                raise UserError(
                    "phantom", f"{what} {dict(shares)} must have shares of at least 0, not all 0", "Correct it"
                )
        for what in ("follow_ups", "markers", "hospital_shortcut", "marker_shortcut"):
            if not 0.0 <= (value := getattr(self, what)) <= 1.0:
                raise UserError("phantom", f"{what} must lie in 0..1 (got {value})", "Give a probability")


def apportion(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return whole numbers that add up to `total` in proportion to `shares` (largest remainder)."""
    exact = {key: total * share / sum(shares.values()) for key, share in shares.items()}
    counts = {key: int(value) for key, value in exact.items()}
    by_remainder = sorted(exact, key=lambda key: counts[key] - exact[key])
    for key in by_remainder[: total - sum(counts.values())]:
        counts[key] += 1
    return counts


def _shuffled(counts: Mapping[Any, int], rng: np.random.Generator) -> list[Any]:
    items = [key for key, count in counts.items() for _ in range(count)]
    return [items[i] for i in rng.permutation(len(items))]


def _pick(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    weights = np.array(list(shares.values()), dtype=float)
    return str(rng.choice(list(shares), p=weights / weights.sum()))


def plan_collection(settings: PhantomSettings) -> pd.DataFrame:
    """Return the collection's table, one row per image, before anything is drawn.

    Columns: file, image_id, patient, visit, label, view, hospital, marker, extent, severity, image_seed. The
    composition and the severities of first images are exact; later images drift by a point or two.
    """
    rng = stream(settings.seed, _PLAN)
    labels = _shuffled(settings.composition, rng)
    levels = iter(_shuffled(apportion(labels.count("covid"), settings.severities), rng))
    rows = []
    for number, label in enumerate(labels):
        own = stream(settings.seed, _PLAN, number)
        extent = 0
        if label == "covid":
            extent = int(own.choice(_EXTENTS[next(levels)]))
        elif label == "cap":
            extent = int(own.choice(_CAP_EXTENTS, p=_CAP_SHARES))
        hospital = _pick(settings.hospitals, own)
        if own.random() < settings.hospital_shortcut:
            hospital = HOSPITALS[0 if label == "normal" else 1]
        body_seed = int(own.integers(2**31))
        visits = 1 + int((np.cumprod(own.random(_MAX_VISITS - 1) < settings.follow_ups)).sum())
        for visit in range(visits):
            if visit and label != "normal":
                extent = int(np.clip(extent + own.choice([-2, -1, 0, 1, 2]), 0, MAX_EXTENT))
            row = {"label": label, "extent": extent, "hospital": hospital, "image_seed": body_seed}
            rows.append(_row(settings, own, f"P{number:05d}", visit, row))
    return pd.DataFrame(rows)


def _row(
    settings: PhantomSettings, rng: np.random.Generator, patient: str, visit: int, known: dict[str, Any]
) -> dict[str, Any]:
    label, extent, hospital = known["label"], known["extent"], known["hospital"]
    view = _pick(settings.views, rng)
    marked = rng.random() < settings.markers
    if rng.random() < settings.marker_shortcut:
        marked = label != "normal"
    text = "PORTABLE" if view == "AP" else "R" if hospital == "A" else "L"
    return {
        "file": f"{patient}-{visit}.png",
        "image_id": f"{patient}-{visit}",
        "patient": patient,
        "visit": visit,
        "label": label,
        "view": view,
        "hospital": hospital,
        "marker": text if marked else "",
        "extent": extent,
        "severity": severity_level(extent) if label == "covid" else "",
        "image_seed": known["image_seed"],
    }


def make_phantom(
    folder: str | Path,
    patients: int | None = None,
    seed: int = 0,
    size: int = 256,
    *,
    composition: Mapping[str, float] | None = None,
    workers: int | None = None,
    **others: Any,
) -> Path:
    """Write a phantom collection atomically; reuse an existing one with the same settings.

    Written are `images/`, `masks/` (lungs, 0/255) and `opacities/` (0/255), in each one PNG per image, of the same
    name, `metadata.csv` (see `plan_collection`) and `phantom.yaml` (settings, generator version).

    Parameters
    ----------
    folder : str or Path
        Output folder; must be missing, empty, or contain the same phantom.
    patients : int, optional
        Number of patients, shared out in proportion to `composition`. Without it `composition` counts them.
    composition : mapping label -> patients or share
        Default 60 "normal" and 60 "covid"; "cap" is the third label.
    workers : int, optional
        Threads; default the number of cores, at most 8.
    seed, size, **others
        As in `PhantomSettings`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If settings are invalid, or the folder has other contents or is not writable.
    """
    counts = _counts(patients, dict(composition or {"normal": 60, "covid": 60}))
    given: dict[str, Any] = {name: value for name, value in others.items() if value is not None}
    given = {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}
    settings = PhantomSettings(counts, seed, size, **given)
    folder = Path(folder)
    if _already_there(folder, settings):
        logger.info("phantom of the same settings found in %s: reused", folder)
    else:
        _write_whole(folder, settings, workers)
    return folder


def _counts(patients: int | None, shares: dict[str, float]) -> dict[str, int]:
    if patients is None:
        if any(share != int(share) for share in shares.values()):
            raise UserError("phantom", f"composition {shares} holds fractions", "Give the number of patients")
        return {label: int(share) for label, share in shares.items()}
    if patients < 1 or sum(shares.values()) <= 0:
        raise UserError("phantom", f"composition {shares} gives no patients (patients={patients})", "Ask for more")
    return apportion(patients, shares)


def _document(settings: PhantomSettings) -> dict[str, Any]:
    document = {"generator": "covid_keras.data.phantom", "version": GENERATOR_VERSION}
    return {**document, "settings": asdict(settings)}


def _already_there(folder: Path, settings: PhantomSettings) -> bool:
    """Return whether the folder holds this collection; raise where it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    problem = "holds something other than a whole phantom of these settings"
    other = UserError(folder, problem, "Choose another folder or delete it")
    try:
        found = read_yaml(folder / SETTINGS)
        files = set(read_table(folder / METADATA, ["file"])["file"])
    except UserError as error:
        raise other from error
    there = ({path.name for path in (folder / name).glob("*.png")} for name in FOLDERS)
    complete = all(names >= files for names in there)
    if found != _document(settings) or not complete:
        raise other
    return True


def _write_whole(folder: Path, settings: PhantomSettings, workers: int | None) -> None:
    staging = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-phantom-"))
        _write_collection(staging, settings, workers)
        staging.chmod(0o755)
        try:
            os.replace(staging, folder)  # onto nothing, or onto an empty folder
        except OSError:
            if not _already_there(folder, settings):  # another process may have been faster
                raise
    except OSError as error:
        problem = f"the phantom could not be written ({error.strerror or error}), nothing was kept"
        raise UserError(folder, problem, "Free some space or choose another folder") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _write_collection(folder: Path, settings: PhantomSettings, workers: int | None) -> None:
    table = plan_collection(settings)
    for name in FOLDERS:
        (folder / name).mkdir()

    def draw(row: Any) -> None:
        look = {"view": row.view, "hospital": row.hospital, "marker": row.marker}
        sample = phantom_image(row.image_seed, settings.size, row.label, row.extent, visit=row.visit, **look)
        for name, pixels in zip(FOLDERS, (sample.image, sample.lungs, sample.opacity), strict=True):
            _write_png(folder / name / row.file, pixels)

    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        done = pool.map(draw, table.itertuples(index=False))
        for _ in progress(done, "drawing the phantom", total=len(table)):
            pass
    (folder / METADATA).write_text(table_text(table.drop(columns="image_seed")), encoding="utf-8")
    text = yaml.safe_dump(_document(settings), sort_keys=False)
    (folder / SETTINGS).write_text(text, encoding="utf-8")


def _write_png(path: Path, pixels: np.ndarray) -> None:
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise RuntimeError(f"cv2 could not encode an image of shape {pixels.shape}")
    path.write_bytes(data.tobytes())
