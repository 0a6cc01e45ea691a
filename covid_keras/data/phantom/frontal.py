"""Attenuation of a frontal view: layers of tissue added up, the lungs' air taken away."""

from __future__ import annotations

import numpy as np

from covid_keras.data.phantom import skeleton
from covid_keras.data.phantom.anatomy import Body, Pose, diaphragm, lung_outline, mediastinum_outline
from covid_keras.data.phantom.drawing import Canvas, ellipse, noise_field, smoothstep, spline, stream
from covid_keras.data.phantom.opacities import Opacities

_TISSUE = 6  # stream number: the texture of a patient's tissue
AIR = 0.47  # what the lungs take away where they are deepest


def body_outline(body: Body, pose: Pose) -> list[np.ndarray]:
    """Return trunk with neck, and both arms, as polygons."""
    flank = body.width + 0.13 + 0.07 * body.tissue
    shoulder = body.apex - 0.06
    half = [(0.20, -1.9), (0.21, shoulder - 0.26), (0.30, shoulder - 0.12), (0.62, shoulder - 0.03),
            (1.0, shoulder + 0.10), (flank + 0.05, shoulder + 0.5), (flank, 0.2), (flank + 0.01, 0.7), (flank + 0.04, 2.2)]  # fmt: skip
    right = spline([(-x, y) for x, y in half])
    trunk = np.vstack([right, spline(half)[::-1]])
    spread = 0.10 + 0.45 * pose.arms
    arms = []
    for side in (-1, 1):
        arm = [(0.70, shoulder - 0.01), (1.02, shoulder + 0.06), (1.22, shoulder + 0.3), (1.30 + spread, 0.5),
               (1.40 + spread, 2.0), (1.08 + spread, 2.0), (1.0 + 0.6 * spread, 0.5), (flank + 0.02, -0.05), (0.8, shoulder + 0.4)]  # fmt: skip
        arms.append(spline(np.array(arm) * [side, 1.0], closed=True))
    return [trunk, *arms]


def _soft_tissue(canvas: Canvas, body: Body, pose: Pose, seed: int) -> np.ndarray:
    rng = stream(seed, _TISSUE)
    outline = canvas.blur(canvas.fill(*body_outline(body, pose)), 0.008)
    thick = outline * (0.30 + 0.70 * canvas.blur(outline, 0.10))
    level = 0.60 + 0.05 * (body.tissue - 1.0) - 0.05 * smoothstep(np.abs(canvas.x), 0.3, 1.0)
    level = level + 0.10 * smoothstep(canvas.y, body.base - 0.2, body.base + 0.5)
    level = level - 0.10 * smoothstep(-canvas.y, 0.55, 1.1)
    layer = thick * (level + 0.022 * canvas.place(noise_field(rng, 3, 5, 0.62)))
    if body.breast > 0:
        for side in (-1, 1):
            y = 0.22 + rng.uniform(-0.06, 0.08)
            shape = ellipse(side * (0.47 + rng.normal(0, 0.02)), y, 0.31, 0.22 + 0.10 * body.breast, side * 8)
            mound = canvas.blur(canvas.fill(shape), 0.012)
            slope = smoothstep(canvas.y, y - 0.25, y + 0.28)
            layer += 0.11 * body.breast * mound * slope
    return layer


def _abdomen(canvas: Canvas, body: Body, pose: Pose) -> np.ndarray:
    right, left = diaphragm(body, pose, -1), diaphragm(body, pose, 1)
    flank = body.width + 0.2
    under = np.vstack([right, left[::-1], [(flank, left[0, 1] + 0.05), (flank, 2.5), (-flank, 2.5), (-flank, right[0, 1])]])
    layer = canvas.blur(canvas.fill(under), 0.008) * 0.15
    if body.gas > 0.35:
        top = float(left[:, 1].min())
        bubble = ellipse(0.36 + 0.1 * body.gas, top + 0.13, 0.10 + 0.08 * body.gas, 0.055 + 0.04 * body.gas, 8)
        layer -= 0.10 * body.gas * canvas.blur(canvas.fill(bubble), 0.014)
    return layer


def _bones(canvas: Canvas, body: Body, pose: Pose, lungs: np.ndarray) -> np.ndarray:
    posterior, anterior = [], []
    for side in (-1, 1):
        back, front = skeleton.ribs(body, side)
        posterior += back
        anterior += front
    behind = canvas.blur(canvas.tubes(posterior, 0.060), 0.006)
    front = canvas.blur(canvas.tubes(anterior, 0.066, 0.35), 0.008) * smoothstep(np.abs(canvas.x), 0.16, 0.62)
    ribs = (0.135 * behind + 0.085 * front) * (0.45 + 0.55 * canvas.blur(lungs, 0.03))
    collar = canvas.tubes([skeleton.clavicle(body, pose, side) for side in (-1, 1)], 0.072, 0.45)
    blades = np.zeros(canvas.shape, np.float32)
    for side in (-1, 1):
        blade, spine, head = (canvas.fill(p) for p in skeleton.scapula(body, pose, side))
        rim = np.clip(blade - canvas.blur(blade, 0.03), 0, 1)
        blades += 0.05 * blade + 0.12 * rim + 0.07 * spine + 0.13 * head
    bodies, marks = skeleton.vertebrae(body, pose)
    column = 0.055 * canvas.fill(*bodies) + 0.035 * canvas.fill(*marks)
    return body.bone * (ribs + 0.12 * canvas.blur(collar, 0.007) + canvas.blur(blades + column, 0.009))


def _vessels(canvas: Canvas, body: Body, seed: int) -> np.ndarray:
    widths = (0.042, 0.025, 0.015, 0.010, 0.007)
    weights = (0.075, 0.085, 0.085, 0.08, 0.07)
    layer = np.zeros(canvas.shape, np.float32)
    trees = [skeleton.vessel_tree(seed, side, body) for side in (-1, 1)]
    for width, weight, right, left in zip(widths, weights, *trees, strict=True):
        layer += weight * canvas.blur(canvas.strokes(right + left, width), 0.35 * width)
    hila = canvas.fill(ellipse(-0.20, 0.02, 0.05, 0.12, 12), ellipse(0.20, -0.03, 0.05, 0.10, -12))
    return body.vessels * (layer + 0.06 * canvas.blur(hila, 0.03))


def lung_polygons(body: Body, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return the outlines of the right and the left lung."""
    return lung_outline(body, pose, -1), lung_outline(body, pose, 1)


def attenuation(canvas: Canvas, body: Body, pose: Pose, seed: int, opacities: Opacities) -> np.ndarray:
    """Return the attenuation along the beam, (H, W) float32: 0 for air, about 1 for the mediastinum."""
    sharp = canvas.fill(*lung_polygons(body, pose))
    lungs = canvas.blur(sharp, 0.006)
    depth = lungs * (0.42 + 0.28 * canvas.blur(sharp, 0.035) + 0.42 * canvas.blur(sharp, 0.11))
    vessels, heart = mediastinum_outline(body, pose)
    great, core = canvas.fill(vessels), canvas.fill(heart)
    middle = canvas.blur(great, 0.016) * 0.24 + 0.06 * canvas.blur(great, 0.06)
    heart_layer = 0.17 * canvas.blur(core, 0.014) + 0.20 * canvas.blur(core, 0.07)
    tree = _vessels(canvas, body, seed)
    trachea, bronchi = skeleton.airway(body, pose)
    air = 0.11 * canvas.blur(canvas.tubes([trachea], 0.085, 0.0), 0.012)
    air += 0.05 * canvas.blur(canvas.tubes(bronchi, 0.06, 0.0), 0.014)
    lung_air = AIR * depth * (1.0 - opacities.strength * opacities.density)
    total = _soft_tissue(canvas, body, pose, seed) + _abdomen(canvas, body, pose)
    total += np.maximum(middle, heart_layer) + 0.35 * np.minimum(middle, heart_layer)
    total += _bones(canvas, body, pose, sharp) + tree * lungs - lung_air - air
    return np.maximum(total, 0.0)
