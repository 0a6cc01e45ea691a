"""Bones, airways and vessels of the frontal views, as curves in body coordinates."""

from __future__ import annotations

import numpy as np

from covid_keras.data.phantom.anatomy import Body, Pose, wall_x
from covid_keras.data.phantom.drawing import ellipse, spline, stream

_TREE = 3  # stream number: a patient's vessels


def ribs(body: Body, side: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the posterior and the anterior parts of one side's ribs, each a curve, (n, 2)."""
    s = np.linspace(0, 1, 22)
    posterior, anterior = [], []
    for number in range(11):
        start = body.apex - 0.02 + number * body.rib_pitch
        drop = body.rib_drop + 0.014 * number
        end = start + drop
        wall = float(wall_x(body, max(end, body.apex + 0.015))) + 0.015
        x = 0.06 + (wall - 0.06) * np.sin(s * np.pi / 2) ** 0.9
        y = start + (end - start) * s**2.6 - (0.035 + 0.002 * number) * np.sin(np.pi * s)
        posterior.append(np.stack([side * x, y + body.bend * side * x], axis=1))
        if number > 7:
            continue
        fall = 0.20 + 0.018 * number
        target = 0.26 + 0.025 * number
        front_x = wall - (wall - target) * s**1.45
        front_y = end + fall * s**0.75
        anterior.append(np.stack([side * front_x, front_y + body.bend * side * front_x], axis=1))
    return posterior, anterior


def clavicle(body: Body, pose: Pose, side: int) -> np.ndarray:
    """Return one collar bone as a curve, (n, 2); lower and flatter in PA than in AP views."""
    raised = 0.05 if pose.portable else 0.0
    tilt = body.clavicle + 0.4 * pose.turn * side
    y = body.apex + 0.14 - raised
    points = [(0.07, y + 0.05), (0.22, y + 0.035), (0.42, y - 0.03 + tilt), (0.62, y - 0.09 + tilt), (0.9, y - 0.13)]
    return spline([(side * px + pose.turn, py) for px, py in points])


def scapula(body: Body, pose: Pose, side: int) -> list[np.ndarray]:
    """Return one shoulder blade and the head of the humerus as polygons; over the lung in AP views."""
    x = body.width + (-0.14 if pose.portable else 0.02 + 0.05 * pose.arms)
    y = body.apex + 0.12
    blade = [(x - 0.02, y - 0.02), (x + 0.06, y + 0.25), (x + 0.10, y + 0.50), (x + 0.15, y + 0.46),
             (x + 0.19, y + 0.2), (x + 0.22, y + 0.02), (x + 0.12, y - 0.08)]  # fmt: skip
    spine = [(x - 0.01, y + 0.05), (x + 0.12, y - 0.01), (x + 0.27, y - 0.08), (x + 0.27, y - 0.12),
             (x + 0.1, y - 0.05)]  # fmt: skip
    outlines = [spline(blade, closed=True), spline(spine, closed=True), ellipse(x + 0.31, y - 0.01, 0.095, 0.10)]
    return [outline * np.array([side, 1.0]) for outline in outlines]


def spine_centre(body: Body, pose: Pose, y: np.ndarray | float) -> np.ndarray:
    """Return x of the spine's centre line at height `y`."""
    return body.bend * np.sin(2.2 * np.asarray(y, dtype=float)) - 0.5 * pose.turn


def vertebrae(body: Body, pose: Pose) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the vertebral bodies and the spinous processes with pedicles, as polygons."""
    bodies, marks = [], []
    for number in range(17):
        y = body.apex - 0.35 + number * body.rib_pitch * 1.02
        half, tall = 0.058 + 0.0016 * number, 0.40 * body.rib_pitch
        x = float(spine_centre(body, pose, y))
        corner = [(-half, -tall), (0, -tall * 0.86), (half, -tall), (half * 0.88, 0), (half, tall),
                  (0, tall * 0.86), (-half, tall), (-half * 0.88, 0)]  # fmt: skip
        bodies.append(spline(np.array(corner) + [x, y], closed=True, steps=3))
        marks.append(ellipse(x - 0.3 * pose.turn, y + tall, 0.011, 0.026, points=12))
        marks += [ellipse(x + dx, y - 0.25 * tall, 0.010, 0.016, points=12) for dx in (-0.6 * half, 0.6 * half)]
    return bodies, marks


def airway(body: Body, pose: Pose) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the trachea's centre line, and those of the two main bronchi."""
    y = np.linspace(-1.2, -0.16, 20)
    x = 0.5 * pose.turn - 0.02 * body.knob * np.exp(-(((y + 0.28) / 0.12) ** 2))
    end = (float(x[-1]), -0.16)
    bronchi = [
        spline([end, (end[0] - 0.07, -0.09), (end[0] - 0.13, -0.02)]),
        spline([end, (end[0] + 0.08, -0.10), (end[0] + 0.17, -0.05)]),
    ]
    return np.stack([x, y], axis=1), bronchi


def vessel_tree(seed: int, side: int, body: Body, generations: int = 5) -> list[list[np.ndarray]]:
    """Return the lung's vessels, branching from the hilum: for each generation its curves, (n, 2)."""
    rng = stream(seed, _TREE, 0 if side < 0 else 1)
    hilum = np.array([side * 0.19, 0.0 if side < 0 else -0.04])
    angles = np.concatenate([rng.uniform(-1.25, -0.45, 2), rng.uniform(-0.35, 0.35, 2), rng.uniform(0.45, 1.3, 3)])
    heads = [(hilum + rng.normal(0, 0.02, 2), a, 0.26 * body.width / 0.75) for a in angles]
    levels: list[list[np.ndarray]] = []
    s = np.linspace(0, 1, 5)[:, None]
    for _ in range(generations):
        curves, following = [], []
        for start, angle, length in heads:
            length = length * rng.uniform(0.75, 1.2)
            curl = rng.normal(0, 0.25)
            way = angle + curl * s
            path = start + length * s * np.hstack([side * np.cos(way), np.sin(way)])
            curves.append(path)
            spread = rng.uniform(0.25, 0.55)
            following += [(path[-1], angle + curl + spread, length * 0.72), (path[-1], angle + curl - spread, length * 0.72)]
            if rng.random() < 0.6:
                following.append((path[2], angle + rng.choice([-0.8, 0.8]), length * 0.6))
        levels.append(curves)
        heads = following
    return levels
