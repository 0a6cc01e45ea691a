"""From attenuation to a grey image: the film's curve, blur, noise, borders and markers of two hospitals."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from covid_keras.data.phantom.drawing import Canvas, ellipse, spline, stream

_EXPOSURE, _NOISE, _DEVICES, _BORDER = 7, 8, 9, 10


@dataclass(frozen=True)
class Look:
    """How one hospital's images look."""

    contrast: float  # slope of the curve
    level: float  # attenuation that becomes mid-grey
    detail: float  # local contrast added by the detector's processing
    veil: float  # scattered light
    blur: float  # body units
    noise: float  # share of the grey range
    border: float  # how often a collimated border is seen
    marker_corner: int  # -1 the image's left, 1 its right
    boxed_marker: bool


LOOKS = {
    "A": Look(3.3, 0.50, 0.36, 0.06, 0.002, 0.008, 0.25, -1, False),
    "B": Look(2.9, 0.46, 0.15, 0.16, 0.006, 0.011, 0.75, 1, True),
}


def devices(canvas: Canvas, seed: int, visit: int, portable: bool) -> np.ndarray:
    """Return the attenuation of electrodes, leads and lines over the patient, (H, W); mostly in AP views."""
    rng = stream(seed, _DEVICES, visit)
    layer = np.zeros(canvas.shape, np.float32)
    chance = 0.6 if portable else 0.04
    if rng.random() < chance:  # electrodes and their leads
        for _ in range(int(rng.integers(2, 5))):
            x, y = rng.uniform(-0.75, 0.75), rng.uniform(-0.5, 0.5)
            layer += 0.16 * canvas.fill(ellipse(x, y, 0.035, 0.035)) + 0.2 * canvas.fill(ellipse(x, y, 0.014, 0.014))
            way = [(x, y), (x + rng.normal(0, 0.2), y + 0.3), (x * 0.5 + rng.normal(0, 0.3), y + 0.7), (x, 1.6)]
            layer += 0.13 * canvas.strokes([spline(way)], 0.012)
    if rng.random() < 0.5 * chance:  # tube in the trachea
        layer += 0.14 * canvas.strokes([spline([(0.01, -1.4), (0.0, -0.8), (0.0, -0.30)])], 0.022)
    if rng.random() < 0.6 * chance:  # central line
        way = [(-0.5, -1.1), (-0.28, -0.72), (-0.14, -0.5), (-0.13, -0.15), (-0.14, rng.uniform(-0.1, 0.1))]
        layer += 0.14 * canvas.strokes([spline(way)], 0.014)
    return layer


def expose(canvas: Canvas, attenuation: np.ndarray, seed: int, visit: int, hospital: str) -> np.ndarray:
    """Return the grey image, (H, W) float32 in 0..1, as `hospital` would have taken it."""
    look, rng = LOOKS[hospital], stream(seed, _EXPOSURE, visit)
    contrast = look.contrast * rng.uniform(0.85, 1.15)
    level = look.level + rng.normal(0.0, 0.025)
    slope = rng.normal(0.0, 0.025, 2)
    layer = canvas.blur(attenuation, look.blur)
    veil = canvas.blur(layer, 0.16)
    layer = layer + look.veil * (veil - layer) + look.detail * (layer - veil) * 0.5
    layer = layer + np.float32(slope[0]) * canvas.x + np.float32(slope[1]) * canvas.y
    grey = _curve(layer, contrast, level)
    dark, light = (float(_curve(np.float32(end), contrast, level)) for end in (0.0, 1.18))
    grey = (grey - dark) / (light - dark)
    grain = stream(seed, _NOISE, visit).standard_normal(canvas.shape, dtype=np.float32)
    grain = 0.35 * grain + 1.3 * cv2.GaussianBlur(grain, (3, 3), 0)
    grey = grey + look.noise * (0.5 + np.clip(layer, 0, 1.2)) * grain
    return _border(canvas.shape, grey, rng, look)


def _curve(layer: np.ndarray | np.float32, contrast: float, level: float) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-contrast * (layer - level)))


def _border(shape: tuple[int, int], grey: np.ndarray, rng: np.random.Generator, look: Look) -> np.ndarray:
    shown, edges, tilt = rng.random() < look.border, rng.uniform(0.0, 0.05, 4), rng.normal(0, 0.006, 4)
    if not shown:
        return grey
    h, w = shape
    edges = edges * (rng.random(4) < 0.6)
    left, top, right, bottom = edges
    quad = np.array([
        (left + tilt[0], top + tilt[1]), (1 - right + tilt[0], top - tilt[1]),
        (1 - right - tilt[2], 1 - bottom + tilt[3]), (left - tilt[2], 1 - bottom - tilt[3]),
    ])  # fmt: skip
    window = np.zeros(shape, np.uint8)
    cv2.fillPoly(window, [np.round(quad * (w, h) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.float32(0.02) + (grey - np.float32(0.02)) * (window.astype(np.float32) / 255)


def stamp_marker(image: np.ndarray, text: str, seed: int, visit: int, hospital: str) -> np.ndarray:
    """Return `image`, (H, W) uint8, with `text` burnt in near an upper corner; unchanged for no text."""
    if not text:
        return image
    look, rng = LOOKS[hospital], stream(seed, _BORDER, visit)
    h, w = image.shape
    unit = min(h, w)
    scale, thick = unit * 0.0019 * rng.uniform(0.9, 1.2), max(1, round(unit * 0.005))
    (tw, th), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    margin = unit * rng.uniform(0.04, 0.08)
    x = round(margin if look.marker_corner < 0 else w - margin - tw)
    y = round(unit * rng.uniform(0.05, 0.12) + th)
    out = image.copy()
    if look.boxed_marker:
        pad = max(2, round(0.35 * th))
        cv2.rectangle(out, (x - pad, y - th - pad), (x + tw + pad, y + pad), 12, -1)
    cv2.putText(out, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, 245, thick, cv2.LINE_AA)
    return out
