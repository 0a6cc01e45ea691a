"""Bones, airways and vessels of the frontal views, as curves in body coordinates."""

from __future__ import annotations

import numpy as np

from covid_keras.data.phantom.anatomy import Body, Pose, level_y, wall_x
from covid_keras.data.phantom.drawing import ellipse, spline, stream

_TREE = 3  # stream number: a patient's vessels


def ribs(body: Body, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the posterior, (11, n, 2), and the anterior parts, (8, n, 2), of one side's ribs."""
    s = np.linspace(0, 1, 22)
    number = np.arange(11.0)[:, None]
    start = body.apex + 0.01 + number * body.rib_pitch
    end = start + body.rib_drop + 0.020 * number
    wall = wall_x(body, np.maximum(end, body.apex + 0.02)) + 0.03
    x = 0.055 + (wall - 0.055) * np.sin(s * np.pi / 2) ** 0.95
    y = start + (end - start) * s**2.3 - (0.030 + 0.002 * number) * np.sin(np.pi * s)
    posterior = np.stack([side * x, y + body.bend * side * x], axis=-1)
    number, wall, end = number[:8], wall[:8], end[:8]
    x = wall - (wall - 0.22 - 0.035 * number) * s**1.5
    y = end + (0.20 + 0.028 * number) * s**0.8
    return posterior, np.stack([side * x, y + body.bend * side * x], axis=-1)


def clavicle(body: Body, pose: Pose, side: int) -> np.ndarray:
    """Return one collar bone as a curve, (n, 2); steeper and higher in AP views."""
    y = body.apex + (0.13 if pose.portable else 0.20)
    tilt = body.clavicle + 0.4 * pose.turn * side
    points = [(0.075, y + 0.02), (0.20, y + 0.015), (0.40, y - 0.05 + tilt), (0.60, y - 0.14 + tilt),
              (0.80, y - 0.19 + tilt), (1.02, y - 0.21)]  # fmt: skip
    return spline([(side * px + pose.turn, py) for px, py in points])


def scapula(body: Body, pose: Pose, side: int) -> list[np.ndarray]:
    """Return one shoulder blade and the head of the humerus as polygons; over the lung in AP views."""
    x = body.width + (-0.16 if pose.portable else -0.02 + 0.05 * pose.arms)
    y = body.apex + 0.12
    blade = [(x - 0.04, y - 0.02), (x + 0.02, y + 0.25), (x + 0.06, y + 0.52), (x + 0.11, y + 0.48),
             (x + 0.17, y + 0.2), (x + 0.22, y + 0.02), (x + 0.12, y - 0.08)]  # fmt: skip
    spine = [(x - 0.02, y + 0.05), (x + 0.12, y - 0.01), (x + 0.27, y - 0.08), (x + 0.27, y - 0.12),
             (x + 0.1, y - 0.05)]  # fmt: skip
    head = ellipse(x + 0.33, y - 0.01, 0.10, 0.11)
    return [outline * np.array([side, 1.0]) for outline in (spline(blade, True), spline(spine, True), head)]


def spine_centre(body: Body, pose: Pose, y: np.ndarray | float) -> np.ndarray:
    """Return x of the spine's centre line at height `y`."""
    return body.bend * np.sin(2.2 * np.asarray(y, dtype=float)) - 0.5 * pose.turn


def vertebrae(body: Body, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertebral bodies, (16, n, 2), and the spinous processes and pedicles, (48, n, 2)."""
    number = np.arange(16.0)
    y = body.apex - 0.35 + number * body.rib_pitch * 1.03
    x, half, tall = spine_centre(body, pose, y), 0.060 + 0.0016 * number, 0.42 * body.rib_pitch
    corner = np.array([(-1, -1), (0, -0.86), (1, -1), (0.88, 0), (1, 1), (0, 0.86), (-1, 1), (-0.88, 0)])
    unit = spline(corner, closed=True, steps=3)
    size = np.stack([half, np.full_like(half, tall)], axis=1)[:, None]
    centre = np.stack([x, y], axis=1)[:, None]
    process = ellipse(0, 0, 0.011, 0.028, points=12) + np.array([-0.3 * pose.turn, tall])
    pedicle = ellipse(0, 0, 0.011, 0.018, points=12) + np.array([0.0, -0.25 * tall])
    offset = np.stack([0.6 * half, np.zeros_like(half)], axis=1)[:, None]
    marks = np.concatenate([centre + process, centre + pedicle - offset, centre + pedicle + offset])
    return centre + unit * size, marks


def airway(body: Body, pose: Pose) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the trachea's centre line, and those of the two main bronchi."""
    y = np.linspace(-1.4, float(level_y(body, pose, 0.34)), 20)
    arch = float(level_y(body, pose, 0.275))
    x = 0.6 * pose.turn - 0.022 * body.knob * np.exp(-(((y - arch) / 0.14) ** 2))
    end = np.array([x[-1], y[-1]])
    right = spline(end + np.array([(0, 0), (-0.07, 0.07), (-0.13, 0.15)]))
    left = spline(end + np.array([(0, 0), (0.08, 0.06), (0.17, 0.11)]))
    return np.stack([x, y], axis=1), [right, left]


def vessel_tree(seed: int, side: int, generations: int = 4) -> list[np.ndarray]:
    """Return a lung's vessels, branching from the hilum at (0, 0): for each generation its curves, (k, 5, 2)."""
    rng = stream(seed, _TREE, 0 if side < 0 else 1)
    angle = np.concatenate([rng.uniform(lo, hi, n) for lo, hi, n in
                            ((-1.35, -0.5, 2), (-0.3, 0.3, 1), (0.4, 0.9, 2), (0.95, 1.4, 2))])  # fmt: skip
    start = rng.normal(0, 0.03, (len(angle), 2))
    length = np.full(len(angle), 0.24)
    s = np.linspace(0, 1, 5)
    levels = []
    for _ in range(generations):
        length = length * rng.uniform(0.75, 1.25, len(length))
        curl = rng.normal(0, 0.25, len(angle))
        way = angle[:, None] + curl[:, None] * s
        step = length[:, None] * s
        path = start[:, None] + np.stack([side * step * np.cos(way), step * np.sin(way)], axis=-1)
        levels.append(path)
        spread = rng.uniform(0.25, 0.5, len(angle))
        kept = rng.random(len(angle)) < 0.8
        start = np.concatenate([path[:, -1], path[kept, 3]])
        angle = np.concatenate([angle + curl + 0.5 * spread, (angle + curl - spread)[kept]])
        length = 0.72 * np.concatenate([length, length[kept]])
    return levels
