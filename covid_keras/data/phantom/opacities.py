"""Opacities with a known extent: where they lie in each lung and how dense they are.

Extent is the geographic part of the RALE score (Warren et al. 2018, as used for chest radiographs in COVID-19
by Wong et al. 2020): 0 to 4 points a lung, 0 = nothing, each further point one started quarter of its area.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from covid_keras.data.phantom.drawing import FIELD_SIZE, Canvas, field_grid, noise_field, stream

MAX_EXTENT = 8
_DISEASE, _SPLIT = 4, 5  # stream numbers: where the disease sits, how it is shared out and how dense it is
_TRACE = 0.015  # shares below this are edge pixels, not an opacity


@dataclass(frozen=True)
class Opacities:
    """Density of the opacities, 0..1, and their outline, both (H, W)."""

    density: np.ndarray
    mask: np.ndarray
    strength: float


def lung_points(share: float) -> int:
    """Return the points, 0-4, of a lung with the involved fraction `share`, 0..1."""
    return 0 if share < _TRACE else int(min(4, np.ceil(4.0 * share)))


def measure_extent(opacities: np.ndarray, lungs: np.ndarray) -> int:
    """Return the extent, 0-8, of an opacity mask over a frontal lung mask.

    Parameters
    ----------
    opacities, lungs : (H, W) array
        Above zero where there is opacity or lung. The lungs are the two largest parts of `lungs`.

    Returns
    -------
    int
        The sum of `lung_points` over both lungs; 0 for empty masks.
    """
    _, parts, stats, _ = cv2.connectedComponentsWithStats((lungs > 0).astype(np.uint8))
    largest = np.argsort(stats[1:, cv2.CC_STAT_AREA])[::-1][:2] + 1
    return sum(lung_points(float((opacities[parts == part] > 0).mean())) for part in largest)


def share_out(label: str, extent: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return the points of the right and the left lung: COVID-19 mostly both sides, pneumonia mostly one."""
    if label == "covid":
        uneven = rng.random() < 0.25 and extent < 7
        major = min(4, (extent + 1) // 2 + (1 if uneven and extent > 1 else 0))
    else:
        major = min(4, extent if rng.random() < 0.85 or extent < 2 else extent - 1)
    points = (major, extent - major)
    return points if rng.random() < 0.55 else (points[1], points[0])


def disease_field(seed: int, label: str, side: int, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the disease goes first and which pixels are this lung, both (FIELD_SIZE, FIELD_SIZE).

    The field depends on patient, label and lung, so an opacity grows and shrinks in place between images.
    """
    rng = stream(seed, _DISEASE, 0 if label == "covid" else 1, 0 if side < 0 else 1)
    x, y = field_grid()
    half = FIELD_SIZE / 2
    step = (FIELD_SIZE - 1) / 2.5
    inside = Canvas((FIELD_SIZE, FIELD_SIZE), scale=step / half).inside(outline)
    top, bottom = outline[:, 1].min(), outline[:, 1].max()
    near, far = np.abs(outline[:, 0]).min(), np.abs(outline[:, 0]).max()
    depth = (np.abs(x) - near) / (far - near)  # 0 at the spine, 1 at the chest wall
    low = (y - top) / (bottom - top)  # 0 at the apex, 1 at the base
    if label == "covid":
        lean = rng.uniform(0.5, 1.0)
        field = 0.9 * noise_field(rng, 7, 2, 0.5) + 2.2 * depth + lean * 2.6 * low - 1.4 * np.clip(low - 0.75, 0, 1)
    else:
        centre = rng.uniform(0.3, 0.75), rng.choice([rng.uniform(0.2, 0.35), rng.uniform(0.6, 0.85)], p=[0.3, 0.7])
        tilt = rng.uniform(-0.35, 0.35)
        away = np.hypot((depth - centre[0]) / 0.9, low - centre[1] + tilt * (depth - centre[0]))
        field = -6.0 * away + 0.45 * noise_field(rng, 6, 2)
    return field / (field[inside].std() + 1e-6), inside


def draw_opacities(
    canvas: Canvas, seed: int, visit: int, label: str, extent: int, outlines: tuple[np.ndarray, np.ndarray]
) -> Opacities:
    """Return the opacities of one image; `outlines` are the right and the left lung, (n, 2) each.

    The share of each lung lies in the middle of its quarter, so that the extent measured from the mask is the
    one asked for at any image size.
    """
    nothing: np.ndarray = np.zeros(canvas.shape, np.float32)
    if extent == 0 or label == "normal":
        return Opacities(nothing, nothing > 0, 0.0)
    rng = stream(seed, _SPLIT, visit)
    points = share_out(label, extent, stream(seed, _SPLIT))
    density: np.ndarray = nothing
    mask: np.ndarray = nothing > 0
    covid = label == "covid"
    soft = 0.75 if covid else 0.45
    for side, outline, score in zip((-1, 1), outlines, points, strict=True):
        share = (score - 0.5 + rng.uniform(-0.22, 0.22)) / 4.0
        if score == 0:
            continue
        field, inside = disease_field(seed, label, side, outline)
        field = np.clip((field - np.quantile(field[inside], 1.0 - share)) / soft, -3, 3)
        placed, lung = canvas.place(field.astype(np.float32)), canvas.fill(outline)
        density = density + lung / (1.0 + np.exp(-3.2 * placed + 0.4))
        mask = mask | ((placed > 0) & canvas.inside(outline))
    if covid:  # ground glass is patchy, a consolidation is solid
        patches = canvas.place(noise_field(stream(seed, _DISEASE, 9), 14, 2, 0.7))
        density = density * (1.0 + 0.34 * np.clip(patches, -2, 1.5))
    strength = (0.29 + 0.058 * extent if covid else 0.72) * rng.uniform(0.8, 1.2)
    return Opacities(np.clip(density, 0, 1.3).astype(np.float32), mask, float(strength))
