"""Who the patient is and how they stand: the numbers behind the drawing, and the outlines of lungs and heart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covid_keras.data.phantom.drawing import spline, stream

_BODY, _POSE = 1, 2  # stream numbers: a patient's body, an image's positioning


@dataclass(frozen=True)
class Body:
    """What stays the same in all images of a patient (body units, see `drawing`)."""

    width: float  # half-width of the rib cage at its widest, inner side
    apex: float  # y of the lungs' apices
    base: float  # y of the costophrenic angles at full inspiration
    medial: float  # |x| of the lungs' inner border
    dome: tuple[float, float]  # height of the right and the left diaphragm above the costophrenic angle
    heart: float  # 1 = cardiothoracic ratio about 0.45
    knob: float  # prominence of the aortic arch
    tissue: float  # thickness of the chest wall's soft tissue, 1 = average
    breast: float  # 0 = none
    bone: float  # contrast of the bones, 1 = average
    rib_drop: float
    bend: float  # scoliosis
    clavicle: float
    gas: float  # stomach bubble
    vessels: float
    shape: float  # narrow (below 0) or barrel-shaped (above 0) upper chest

    @property
    def rib_pitch(self) -> float:
        """Distance from one posterior rib to the next along the spine."""
        return 0.092 * (self.base - self.apex)


@dataclass(frozen=True)
class Pose:
    """What differs from image to image: positioning, inspiration, how the tube was aimed."""

    rotation: float  # in the image plane, degrees
    scale: float
    shift: tuple[float, float]
    turn: float  # rotation about the body's axis: heart and spine move apart
    inspiration: float  # raises the diaphragm where below 0
    arms: float
    portable: bool
    reversed_side: bool  # lateral views: facing left or right


def draw_body(seed: int) -> Body:
    """Return the patient of `seed`; the label plays no part."""
    rng = stream(seed, _BODY)
    female = rng.random() < 0.45
    return Body(
        width=float(np.clip(rng.normal(0.80, 0.035), 0.70, 0.88)),
        apex=float(rng.normal(-0.79, 0.03)),
        base=float(np.clip(rng.normal(0.64, 0.07), 0.45, 0.78)),
        medial=float(rng.normal(0.088, 0.010)),
        dome=(float(rng.uniform(0.17, 0.27)), float(rng.uniform(0.13, 0.21))),
        heart=float(np.clip(rng.normal(1.0, 0.12), 0.75, 1.35)),
        knob=float(rng.uniform(0.2, 1.25)),
        tissue=float(np.clip(rng.normal(1.0, 0.25), 0.55, 1.7)),
        breast=float(rng.uniform(0.4, 1.1)) if female else 0.0,
        bone=float(np.clip(rng.normal(1.0, 0.2), 0.6, 1.5)),
        rib_drop=float(rng.uniform(0.14, 0.30)),
        bend=float(rng.normal(0.0, 0.018)),
        clavicle=float(rng.normal(0.0, 0.03)),
        gas=float(rng.random()),
        vessels=float(rng.uniform(0.7, 1.3)),
        shape=float(np.clip(rng.normal(0.0, 0.35), -0.8, 0.8)),
    )


def draw_pose(seed: int, visit: int, view: str) -> Pose:
    """Return how the patient of `seed` was placed for image number `visit` in `view`."""
    rng = stream(seed, _POSE, visit)
    portable = view == "AP"
    loose = 1.8 if portable else 1.0
    return Pose(
        rotation=float(np.clip(rng.normal(0.0, 1.6 * loose), -8, 8)),
        scale=float(np.clip(rng.normal(1.02 if portable else 1.0, 0.06), 0.86, 1.16)),
        shift=(float(rng.normal(0.0, 0.03 * loose)), float(rng.normal(0.02, 0.035 * loose))),
        turn=float(rng.normal(0.0, 0.015 * loose)),
        inspiration=float(np.clip(rng.normal(-0.10 if portable else 0.0, 0.04), -0.24, 0.08)),
        arms=float(rng.uniform(0, 1)),
        portable=portable,
        reversed_side=bool(rng.random() < 0.5),
    )


def wall_x(body: Body, y: np.ndarray | float) -> np.ndarray:
    """Return |x| of the rib cage's inner side at height `y`: a dome at the apex, widest above the base."""
    t = np.clip((np.asarray(y, dtype=float) - body.apex) / (body.base - body.apex), 0.0, 1.0)
    wide = 0.40 + 0.60 * (1 - (1 - t) ** (2.6 + 0.8 * body.shape)) ** 0.52
    return body.width * wide * (1.0 - 0.04 * np.clip((t - 0.75) / 0.25, 0, 1) ** 2)


def level_y(body: Body, pose: Pose, t: np.ndarray | float) -> np.ndarray:
    """Return y at the share `t` of the lungs' height: 0 at the apices, 1 at the costophrenic angles."""
    return body.apex + np.asarray(t, dtype=float) * (body.base + pose.inspiration - body.apex)


def diaphragm(body: Body, pose: Pose, side: int) -> np.ndarray:
    """Return one dome, (n, 2), from the costophrenic angle to the spine; side -1 is the patient's right."""
    angle_y = body.base + pose.inspiration + (0.02 if side > 0 else 0.0)
    outer, inner = float(wall_x(body, angle_y)), body.medial
    s = np.linspace(0, 1, 26)
    height = body.dome[0 if side < 0 else 1] * (0.85 if pose.portable else 1.0)
    rise = 1 - np.abs(2 * s**0.80 - 1) ** 2.4
    y = angle_y - height * rise - 0.07 * s
    return np.stack([side * (outer + (inner - outer) * s), y], axis=1)


def lung_outline(body: Body, pose: Pose, side: int) -> np.ndarray:
    """Return one lung as a polygon, (n, 2): apex, chest wall, dome, inner border beside the spine.

    As in the human masks of the Darwin V7 set, the part behind the heart belongs to the lung.
    """
    dome = diaphragm(body, pose, side)
    y = body.apex + (dome[0, 1] - body.apex) * np.linspace(0.0, 1.0, 30) ** 1.8
    wall = np.stack([side * wall_x(body, y), y], axis=1)
    top, medial = 0.40 * body.width, body.medial + 0.015
    inner_y = np.linspace(1, 0, 24) ** 1.3 * (dome[-1, 1] - body.apex) + body.apex
    u = np.clip((inner_y - body.apex) / 0.26, 0, 1)
    inner = medial + (top - medial) * (1 - np.sqrt(1 - (1 - u) ** 2))
    inner -= 0.02 * np.clip((inner_y - 0.1) / 0.5, 0, 1)
    return np.vstack([wall, dome[1:-1], np.stack([side * inner, inner_y], axis=1)])


def mediastinum_outline(body: Body, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return the outlines of the great vessels and of the heart, each (n, 2)."""
    k, h = body.knob, body.heart * (1.15 if pose.portable else 1.0) * (1 - 0.6 * pose.inspiration)
    vessels = [
        (-0.09, -0.12), (-0.10, 0.06), (-0.13, 0.18), (-0.155, 0.28), (-0.165, 0.42), (-0.15, 0.7), (-0.10, 0.9),
        (0.09, 0.95), (0.15, 0.6), (0.19, 0.44), (0.175, 0.38), (0.145 + 0.02 * k, 0.33), (0.135 + 0.075 * k, 0.275),
        (0.125 + 0.045 * k, 0.22), (0.12, 0.16), (0.11, 0.06), (0.09, -0.12),
    ]  # fmt: skip
    heart = [
        (-0.12, 0.46), (-0.19 * h, 0.55), (-0.235 * h, 0.67), (-0.215 * h, 0.80), (-0.10, 0.90),
        (0.12 * h, 0.95), (0.36 * h, 0.96), (0.445 * h, 0.90), (0.455 * h, 0.82), (0.40 * h, 0.70),
        (0.305 * h, 0.575), (0.225, 0.48), (0.17, 0.40), (0.0, 0.36),
    ]  # fmt: skip
    outlines = []
    for points, lever in ((vessels, 0.6), (heart, 1.4)):
        x, t = np.array(points).T
        outlines.append(spline(np.stack([x + lever * pose.turn, level_y(body, pose, t)], axis=1), closed=True))
    return outlines[0], outlines[1]
