"""Attenuation of a frontal view: layers of tissue added up, the lungs' air taken away."""

from __future__ import annotations

import numpy as np

from covid_keras.data.phantom import skeleton
from covid_keras.data.phantom.anatomy import Body, Pose, diaphragm, level_y, lung_outline, mediastinum_outline
from covid_keras.data.phantom.drawing import Canvas, ellipse, noise_field, smoothstep, spline, stream
from covid_keras.data.phantom.opacities import Opacities

_TISSUE = 6  # stream number: the texture of a patient's tissue
AIR = 0.285  # what the lungs take away where they are deepest


def body_outline(body: Body, pose: Pose) -> list[np.ndarray]:
    """Return trunk with neck, and both arms, as polygons."""
    flank = body.width + 0.09 + 0.09 * body.tissue
    top = body.apex - 0.15
    half = [(0.33, -2.2), (0.33, top - 0.25), (0.41, top - 0.12), (0.66, top - 0.03), (0.95, top + 0.05),
            (flank + 0.07, top + 0.5), (flank, 0.15), (flank + 0.01, 0.7), (flank + 0.04, 2.2)]  # fmt: skip
    curve = spline(half)
    trunk = np.vstack([curve * [-1.0, 1.0], curve[::-1]])
    out = 0.10 + 0.45 * pose.arms
    arm = spline(
        [(0.60, top), (0.98, top + 0.05), (1.22, top + 0.25), (1.34 + out, 0.5), (1.44 + out, 2.0),
         (1.12 + out, 2.0), (1.02 + 0.6 * out, 0.5), (flank + 0.03, -0.10), (0.8, top + 0.5)],
        closed=True,
    )  # fmt: skip
    return [trunk, arm, arm * [-1.0, 1.0]]


def _soft_tissue(canvas: Canvas, body: Body, pose: Pose, seed: int, below: np.ndarray) -> np.ndarray:
    rng = stream(seed, _TISSUE)
    outline = canvas.blur(canvas.fill(*body_outline(body, pose)), 0.006)
    thick = outline * (0.22 + 0.78 * canvas.blur(outline, 0.11))
    away = np.abs(canvas.x)
    level = 0.60 + 0.06 * (body.tissue - 1.0) - 0.07 * smoothstep(away, 0.5, 1.1)
    level = level + 0.10 * smoothstep(canvas.y, body.base - 0.5, body.base + 0.4)
    level = level - 0.12 * smoothstep(-canvas.y, -body.apex - 0.15, -body.apex + 0.3)
    layer = thick * (level + 0.016 * canvas.place(noise_field(rng, 3, 5, 0.6)))
    if body.breast > 0:
        for side in (-1, 1):
            y = 0.26 + rng.uniform(-0.06, 0.10)
            shape = ellipse(side * (0.50 + rng.normal(0, 0.02)), y, 0.33, 0.24 + 0.10 * body.breast, side * 8)
            mound = canvas.blur(canvas.fill(shape), 0.012)
            layer += 0.085 * body.breast * mound * smoothstep(canvas.y, y - 0.3, y + 0.30) * (1.0 - 0.8 * below)
    return layer


def _below(canvas: Canvas, body: Body, pose: Pose) -> np.ndarray:
    """Return a soft layer, 0 above the diaphragm and 1 well below; the lungs' air draws the domes themselves."""
    right, left = diaphragm(body, pose, -1), diaphragm(body, pose, 1)
    wide = body.width + 1.0
    below = [(wide, left[0, 1]), (wide, 2.5), (-wide, 2.5), (-wide, right[0, 1])]
    return canvas.blur(canvas.fill(np.vstack([right, left[::-1], below])), 0.07)


def _stomach(canvas: Canvas, body: Body, pose: Pose) -> np.ndarray:
    top = float(diaphragm(body, pose, 1)[:, 1].min())
    bubble = ellipse(0.34 + 0.1 * body.gas, top + 0.12, 0.09 + 0.08 * body.gas, 0.045 + 0.04 * body.gas, 8)
    return 0.09 * body.gas * canvas.blur(canvas.fill(bubble), 0.014)


def _bones(canvas: Canvas, body: Body, pose: Pose, lungs: np.ndarray, added: np.ndarray) -> np.ndarray:
    sides = [skeleton.ribs(body, side) for side in (-1, 1)]
    posterior, anterior = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    behind = canvas.blur(canvas.tubes(posterior, 0.074, 0.5), 0.006)
    front = canvas.blur(canvas.tubes(anterior, 0.078, 0.35), 0.008) * smoothstep(np.abs(canvas.x), 0.20, 0.75)
    # fainter towards the base and over the heart, where the beam has more to pass
    seen = (0.50 + 0.50 * canvas.blur(lungs, 0.03)) * (1.15 - 0.5 * smoothstep(canvas.y, -0.2, body.base))
    seen *= 1.0 - np.minimum(2.5 * added, 0.5)
    ribs = (0.080 * behind + 0.070 * front) * seen
    collar = canvas.tubes([skeleton.clavicle(body, pose, side) for side in (-1, 1)], 0.078, 0.45)
    blades = np.zeros(canvas.shape, np.float32)
    for side in (-1, 1):
        blade, spine, head = (canvas.fill(p) for p in skeleton.scapula(body, pose, side))
        rim = np.clip(blade - canvas.blur(blade, 0.03), 0, 1)
        blades += 0.02 * blade + 0.06 * rim + 0.035 * spine + 0.07 * head
    bodies, marks = skeleton.vertebrae(body, pose)
    column = 0.03 * canvas.fill(bodies) + 0.02 * canvas.fill(marks)
    column += 0.05 * smoothstep(np.abs(canvas.x - np.float32(skeleton.spine_centre(body, pose, 0.5))), 0.16, 0.04)
    return body.bone * (ribs + 0.10 * canvas.blur(collar, 0.006) + canvas.blur(blades + column, 0.012))


def _vessels(canvas: Canvas, body: Body, pose: Pose, seed: int) -> np.ndarray:
    widths = (0.045, 0.028, 0.017, 0.011)
    weights = (0.045, 0.055, 0.048, 0.030)
    hila = [np.array([side * 0.17 + pose.turn, float(level_y(body, pose, t))]) for side, t in ((-1, 0.46), (1, 0.42))]
    stretch = np.array([body.width / 0.8, 1.0])
    trees = [
        [hilum + stretch * curves for curves in skeleton.vessel_tree(seed, side)]
        for side, hilum in zip((-1, 1), hila, strict=True)
    ]
    layer = np.zeros(canvas.shape, np.float32)
    for width, weight, right, left in zip(widths, weights, *trees, strict=True):
        layer += weight * canvas.blur(canvas.strokes(np.concatenate([right, left]), width), 0.3 * width)
    (x, y), (left_x, left_y) = hila
    knots = canvas.fill(ellipse(x, y, 0.05, 0.12, 12), ellipse(left_x, left_y, 0.05, 0.10, -12))
    return body.vessels * (layer + 0.05 * canvas.blur(knots, 0.03))


def lung_polygons(body: Body, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return the outlines of the right and the left lung."""
    return lung_outline(body, pose, -1), lung_outline(body, pose, 1)


def _middle(canvas: Canvas, body: Body, pose: Pose, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what heart and great vessels add, and the heart's own layer."""
    vessels, heart = (canvas.fill(outline) for outline in mediastinum_outline(body, pose))
    either = np.maximum(vessels, heart)
    fade = smoothstep(canvas.y, body.apex - 0.15, body.apex + 0.40) * (1.0 - 0.85 * below)
    added = 0.135 * canvas.blur(either, 0.011) + 0.05 * canvas.blur(either, 0.05) + 0.05 * canvas.blur(heart, 0.09)
    return added * fade, heart


def attenuation(canvas: Canvas, body: Body, pose: Pose, seed: int, opacities: Opacities) -> np.ndarray:
    """Return the attenuation along the beam, (H, W) float32: 0 for air, about 0.9 for the mediastinum."""
    sharp = canvas.fill(*lung_polygons(body, pose))
    lungs = canvas.blur(sharp, 0.006)
    depth = lungs * (0.45 + 0.25 * canvas.blur(sharp, 0.035) + 0.40 * canvas.blur(sharp, 0.12))
    # beside the spine the lungs are thin: their inner border is not seen, that of heart and vessels is
    depth *= 0.12 + 0.88 * smoothstep(np.abs(canvas.x - np.float32(pose.turn)), 0.05, 0.27)
    below = _below(canvas, body, pose)
    added, heart = _middle(canvas, body, pose, below)
    hidden = np.maximum(0.75 * heart, np.minimum(1.0, 1.1 * opacities.strength * opacities.density))
    tree = _vessels(canvas, body, pose, seed) * lungs * (1.0 - hidden)
    trachea, bronchi = skeleton.airway(body, pose)
    air = 0.075 * canvas.blur(canvas.tubes([trachea], 0.085, 0.0), 0.010)
    air += 0.03 * canvas.blur(canvas.tubes(bronchi, 0.06, 0.0), 0.014)
    lung_air = AIR * depth * (1.0 - opacities.strength * opacities.density)
    total = _soft_tissue(canvas, body, pose, seed, below) + 0.13 * below + added + tree - lung_air - air
    total += _bones(canvas, body, pose, sharp, added)
    if body.gas > 0.35:
        total -= _stomach(canvas, body, pose)
    return np.maximum(total, 0.0)
