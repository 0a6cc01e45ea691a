"""Drawing in body coordinates: the same anatomy at any image size.

Body coordinates: origin near the lungs' centre, x to the image's right (the patient's left in frontal
views), y down; one unit is half of the image's shorter side where the patient is neither shifted nor scaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

_SHIFT = 4  # cv2 draws with 1/16 pixel precision
_FIELD_HALF = 1.25  # smooth fields cover the square from -1.25 to 1.25 body units
FIELD_SIZE = 96


def stream(seed: int, *keys: int) -> np.random.Generator:
    """Return the random generator of (`seed`, `keys`), independent of other draws."""
    return np.random.default_rng([int(seed), *keys])


def spline(points: Sequence[tuple[float, float]] | np.ndarray, closed: bool = False, steps: int = 8) -> np.ndarray:
    """Return a Catmull-Rom curve, (n, 2) float, through `points`, (k, 2), `steps` samples a span."""
    p = np.asarray(points, dtype=float)
    before, after = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    p = np.vstack([before, p, after])
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.vstack([curve, p[-2:-1]])


def band(path: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Return the polygons, (..., 2n, 2), that lie within `width` / 2 of the curves `path`, (..., n, 2)."""
    step = np.gradient(path, axis=-2)
    normal = np.stack([-step[..., 1], step[..., 0]], axis=-1)
    normal /= np.hypot(step[..., 0], step[..., 1])[..., None] + 1e-9
    side = normal * np.broadcast_to(np.asarray(width, dtype=float) / 2, path.shape[-2])[:, None]
    return np.concatenate([path + side, (path - side)[..., ::-1, :]], axis=-2)


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0, points: int = 28) -> np.ndarray:
    """Return an ellipse as a polygon, (points, 2)."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    turn = np.deg2rad(degrees)
    px, py = rx * np.cos(angle), ry * np.sin(angle)
    return np.stack([x + px * np.cos(turn) - py * np.sin(turn), y + px * np.sin(turn) + py * np.cos(turn)], axis=1)


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return 0 below `low`, 1 above `high` (or the reverse where high < low), smooth between."""
    t = (x - low) * (1.0 / (high - low))
    np.clip(t, 0.0, 1.0, out=t)
    smooth = t * t  # in place from here: the generator spends much of its time in this function
    t *= -2.0
    t += 3.0
    smooth *= t
    return smooth


def noise_field(rng: np.random.Generator, cells: int, octaves: int = 1, fall: float = 0.5) -> np.ndarray:
    """Return smooth noise, (FIELD_SIZE, FIELD_SIZE) float32, about zero with unit spread.

    `cells` bumps a side in the first octave, twice as many in each further one, `fall` times as strong.
    """
    field = np.zeros((FIELD_SIZE, FIELD_SIZE), np.float32)
    for octave in range(octaves):
        side = min(cells * 2**octave, FIELD_SIZE)
        coarse = rng.standard_normal((side, side)).astype(np.float32)
        field += fall**octave * cv2.resize(coarse, (FIELD_SIZE, FIELD_SIZE), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / (field.std() + 1e-6)


def field_grid() -> tuple[np.ndarray, np.ndarray]:
    """Return the body coordinates x and y of a field's pixels, each (FIELD_SIZE, FIELD_SIZE) float32."""
    axis = np.linspace(-_FIELD_HALF, _FIELD_HALF, FIELD_SIZE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


class Canvas:
    """Layers of one image, drawn in body coordinates.

    Parameters
    ----------
    shape : tuple of int
        (height, width) in pixels.
    rotation : float
        Tilt of the patient in the image, degrees.
    scale : float
        Size of the patient against the image.
    shift : tuple of float
        Where the body's origin lies, in body units from the image's centre.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        rotation: float = 0.0,
        scale: float = 1.0,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.shape = shape
        half = min(shape) / 2.0
        self.unit = half * scale
        c, s = np.cos(np.deg2rad(rotation)) * self.unit, np.sin(np.deg2rad(rotation)) * self.unit
        centre = ((shape[1] - 1) / 2 + half * shift[0], (shape[0] - 1) / 2 + half * shift[1])
        self.matrix = np.array([[c, -s, centre[0]], [s, c, centre[1]]])
        self.inverse = cv2.invertAffineTransform(self.matrix)
        column = np.arange(shape[1], dtype=np.float32)[None, :]
        row = np.arange(shape[0], dtype=np.float32)[:, None]
        self.x, self.y = (np.float32(m[0]) * column + np.float32(m[1]) * row + np.float32(m[2]) for m in self.inverse)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return body points, (..., 2), as cv2's fixed-point pixel coordinates."""
        placed = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.round(placed * (1 << _SHIFT)).astype(np.int32)

    def _draw(self, layer: np.ndarray, polygons: Iterable[np.ndarray]) -> None:
        # one by one: cv2.fillPoly leaves holes where polygons of one call overlap
        for group in polygons:
            placed = self.pixels(group)
            for polygon in placed if placed.ndim == 3 else (placed,):
                cv2.fillPoly(layer, [polygon], 255, cv2.LINE_AA, _SHIFT)

    def fill(self, *polygons: np.ndarray) -> np.ndarray:
        """Return a layer, (H, W) float32, that is 1 inside any polygon, 0 outside; edges antialiased.

        Each argument is a polygon, (n, 2), or a stack of them, (k, n, 2).
        """
        layer = np.zeros(self.shape, np.uint8)
        self._draw(layer, polygons)
        return layer.astype(np.float32) * np.float32(1 / 255.0)

    def inside(self, *polygons: np.ndarray) -> np.ndarray:
        """Return which pixels lie inside any of the polygons, (H, W) bool."""
        # cv2's antialiased rim lies outside the outline: at 0.9 the area is right to 0.5 % at any size
        return self.fill(*polygons) > 0.9

    def tubes(self, paths: Iterable[np.ndarray], width: float, wall: float = 0.5) -> np.ndarray:
        """Return bone-like bands, (H, W) float32 in 0..1, darker inside their rim by the share `wall`."""
        outer, inner = np.zeros(self.shape, np.uint8), np.zeros(self.shape, np.uint8)
        paths = np.asarray(paths)
        taper = np.clip(np.linspace(0.85, 1.1, paths.shape[-2]), 0, 1)
        self._draw(outer, [band(paths, width * taper)])
        self._draw(inner, [band(paths, 0.55 * width * taper)])
        return (outer.astype(np.float32) - np.float32(wall) * inner) * np.float32(1 / 255.0)

    def strokes(self, paths: Sequence[np.ndarray] | np.ndarray, width: float) -> np.ndarray:
        """Return thin lines, (H, W) float32 in 0..1; lines thinner than a pixel are fainter instead."""
        layer = np.zeros(self.shape, np.uint8)
        wanted = width * self.unit
        thickness = max(1, round(wanted))
        value = 255 * min(1.0, wanted / thickness)
        placed = list(self.pixels(paths)) if isinstance(paths, np.ndarray) else [self.pixels(p) for p in paths]
        cv2.polylines(layer, placed, False, value, thickness, cv2.LINE_AA, _SHIFT)
        return layer.astype(np.float32) * np.float32(1 / 255.0)

    def blur(self, layer: np.ndarray, sigma: float) -> np.ndarray:
        """Return `layer` blurred by a Gaussian of `sigma` body units; wide ones on a reduced copy, for speed."""
        pixels = sigma * self.unit
        if pixels < 0.3:
            return layer
        if pixels <= 4.0:
            return cv2.GaussianBlur(layer, (0, 0), pixels, borderType=cv2.BORDER_REPLICATE)
        factor = pixels / 2.5
        small = (max(4, round(layer.shape[1] / factor)), max(4, round(layer.shape[0] / factor)))
        reduced = cv2.resize(layer, small, interpolation=cv2.INTER_AREA)
        reduced = cv2.GaussianBlur(reduced, (0, 0), 2.5, borderType=cv2.BORDER_REPLICATE)
        return cv2.resize(reduced, (layer.shape[1], layer.shape[0]), interpolation=cv2.INTER_LINEAR)

    def place(self, field: np.ndarray) -> np.ndarray:
        """Return a field, (FIELD_SIZE, FIELD_SIZE) in body coordinates, as it lies in the image, (H, W)."""
        step, centre = (FIELD_SIZE - 1) / (2 * _FIELD_HALF), (FIELD_SIZE - 1) / 2
        to_field = self.inverse * step + np.array([[0.0, 0.0, centre]])
        height, width = self.shape
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(field, to_field, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
