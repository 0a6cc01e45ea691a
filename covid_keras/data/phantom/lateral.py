"""Attenuation of a lateral view: one overlapping lung field, the spine behind, the heart in front.

Drawn facing the image's left and mirrored for half of the images.
"""

from __future__ import annotations

import numpy as np

from covid_keras.data.phantom import skeleton
from covid_keras.data.phantom.anatomy import Body, Pose
from covid_keras.data.phantom.drawing import Canvas, ellipse, noise_field, smoothstep, spline, stream
from covid_keras.data.phantom.frontal import AIR
from covid_keras.data.phantom.opacities import Opacities

_TISSUE = 6


def _facing(pose: Pose) -> np.ndarray:
    return np.array([-1.0 if pose.reversed_side else 1.0, 1.0])


def _lung(body: Body, pose: Pose, rise: float) -> np.ndarray:
    """Return one lung's outline, its dome `rise` above the posterior angle."""
    base = body.base + pose.inspiration
    deep = body.width / 0.755
    points = [
        (0.02, -0.66), (-0.18, -0.55), (-0.36 * deep, -0.32), (-0.46 * deep, -0.02), (-0.49 * deep, 0.22),
        (-0.43 * deep, base - rise + 0.02), (-0.20, base - rise - 0.10), (0.08, base - rise - 0.09),
        (0.30, base - 0.06), (0.44 * deep, base + 0.10), (0.49 * deep, base - 0.05), (0.53 * deep, 0.1),
        (0.50 * deep, -0.25), (0.36, -0.52), (0.20, -0.68),
    ]  # fmt: skip
    return spline(points, closed=True) * _facing(pose)


def lung_polygons(body: Body, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return the outlines of both lungs, which overlap almost wholly."""
    return _lung(body, pose, body.dome[0]), _lung(body, pose, body.dome[1] - 0.03) + np.array([0.012, 0.015])


def attenuation(canvas: Canvas, body: Body, pose: Pose, seed: int, opacities: Opacities) -> np.ndarray:
    """Return the attenuation along the beam, (H, W) float32, as for the frontal view."""
    flip, rng = _facing(pose), stream(seed, _TISSUE)
    x = canvas.x * np.float32(flip[0])
    deep, fat = body.width / 0.755, 0.06 * body.tissue
    trunk = [
        (-0.24, -2.0), (-0.26, -1.0), (-0.38, -0.72), (-0.52 * deep - fat, -0.3), (-0.60 * deep - fat, 0.05),
        (-0.60 * deep - fat - 0.1 * body.breast, 0.28), (-0.58 * deep - fat, 0.55), (-0.62 * deep, 1.0), (-0.6, 2.0),
        (0.55, 2.0), (0.56 * deep + fat, 0.9), (0.66 * deep + fat, 0.3), (0.70 * deep + fat, -0.1),
        (0.62 * deep + fat, -0.55), (0.45, -1.0), (0.42, -2.0),
    ]  # fmt: skip
    outline = canvas.blur(canvas.fill(spline(trunk, closed=True) * flip), 0.008)
    thick = outline * (0.25 + 0.75 * canvas.blur(outline, 0.08))
    level = 0.74 + 0.24 * smoothstep(-canvas.y, 0.30, 0.75) + 0.12 * smoothstep(canvas.y, 0.25, 0.8)
    total = thick * (level + 0.02 * canvas.place(noise_field(rng, 3, 5, 0.62)))
    right, left = (canvas.fill(p) for p in lung_polygons(body, pose))
    depth = canvas.blur(0.5 * (right + left), 0.008)
    depth = depth * (0.55 + 0.5 * canvas.blur(depth, 0.10))
    total -= 1.15 * AIR * depth * (1.0 - opacities.strength * opacities.density)
    h = body.heart
    heart = spline([(-0.44, 0.35), (-0.42 * h, 0.10), (-0.22, -0.08), (0.0, -0.08), (0.10 * h, 0.10),
                    (0.06 * h, 0.30), (-0.10, 0.42), (-0.35, 0.42)], closed=True)  # fmt: skip
    total += 0.20 * canvas.blur(canvas.fill(heart * flip), 0.035) * canvas.blur(np.maximum(right, left), 0.01)
    total += 0.06 * canvas.blur(canvas.fill(ellipse(0.0, -0.10, 0.10, 0.13) * flip), 0.03)
    total += _bones(canvas, body, pose, deep, flip) + _lung_vessels(canvas, body, seed, right, flip)
    air = spline([(0.06, -1.1), (0.05, -0.6), (0.02, -0.2)]) * flip
    total -= 0.12 * canvas.blur(canvas.tubes([air], 0.085, 0.0), 0.012)
    return np.maximum(total, 0.0) * (0.92 + 0.08 * smoothstep(x, -0.6, 0.2))


def _bones(canvas: Canvas, body: Body, pose: Pose, deep: float, flip: np.ndarray) -> np.ndarray:
    way = spline([(0.36, -1.2), (0.40, -0.7), (0.46 * deep, -0.2), (0.45 * deep, 0.3), (0.36, 0.9), (0.34, 1.5)])
    bodies = []
    for number in range(6, len(way) - 1, 3):
        (cx, cy), (dx, dy) = way[number], way[number + 1] - way[number - 1]
        bodies.append(ellipse(cx, cy, 0.085, 0.056, float(np.rad2deg(np.arctan2(-dx, dy)))))
    column = np.clip(canvas.fill(*(b * flip for b in bodies)), 0, 1)
    sternum = canvas.tubes([spline([(-0.33, -0.45), (-0.50 * deep, -0.05), (-0.53 * deep, 0.25)]) * flip], 0.05, 0.4)
    ribs = []
    for number in range(10):
        y = body.apex + 0.05 + number * body.rib_pitch
        ribs.append(
            spline([(0.52 * deep, y), (0.60 * deep, y + 0.05), (0.40, y + 0.20), (0.0, y + 0.40), (-0.3, y + 0.5)])
            * flip
        )
    cage = canvas.tubes(ribs, 0.045)
    blade = canvas.fill(spline([(0.30, -0.6), (0.42, -0.58), (0.50, -0.1), (0.44, -0.08)], closed=True) * flip)
    layer = 0.085 * canvas.blur(column, 0.012) + 0.07 * canvas.blur(sternum, 0.008)
    return body.bone * (layer + 0.045 * canvas.blur(cage, 0.008) + 0.03 * canvas.blur(blade, 0.01))


def _lung_vessels(canvas: Canvas, body: Body, seed: int, lung: np.ndarray, flip: np.ndarray) -> np.ndarray:
    layer = np.zeros(canvas.shape, np.float32)
    for side in (-1, 1):
        levels = skeleton.vessel_tree(seed, side)
        for width, curves in zip((0.034, 0.02, 0.013, 0.009), levels, strict=True):
            moved = (curves * 0.85 + [0.02, -0.08]) * flip
            layer += 0.035 * canvas.blur(canvas.strokes(moved, width), 0.35 * width)
    return body.vessels * layer * lung
