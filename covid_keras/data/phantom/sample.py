"""One synthetic radiograph with its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.data.phantom import frontal, lateral
from covid_keras.data.phantom.anatomy import draw_body, draw_pose
from covid_keras.data.phantom.drawing import Canvas
from covid_keras.data.phantom.exposure import LOOKS, devices, expose, stamp_marker
from covid_keras.data.phantom.opacities import MAX_EXTENT, draw_opacities

LABELS = ("normal", "cap", "covid")
VIEWS = ("PA", "AP", "L")
HOSPITALS = tuple(LOOKS)
MIN_SIZE = 32


@dataclass(frozen=True)
class PhantomSample:
    """A synthetic radiograph and what is known about it.

    Attributes
    ----------
    image : (H, W) uint8
        Grey, 0 = air, bright = bone and soft tissue.
    lungs, opacity : (H, W) uint8
        Masks, 0 or 255. `opacity` lies within `lungs` and is empty if nothing is to be seen.
    extent : int
        0-8, see `phantom.opacities`.
    """

    image: np.ndarray
    lungs: np.ndarray
    opacity: np.ndarray
    extent: int
    label: str
    view: str
    hospital: str
    marker: str


def phantom_image(
    seed: int,
    size: int | tuple[int, int] = 224,
    label: str = "normal",
    extent: int = 0,
    view: str = "PA",
    hospital: str = "A",
    marker: str = "",
    visit: int = 0,
) -> PhantomSample:
    """Return a synthetic chest radiograph: a function of its arguments alone.

    Parameters
    ----------
    seed : int
        The patient, 0 or more: anatomy and the places that disease takes. The label leaves the anatomy alone.
    size : int or (height, width)
        Pixels. The same anatomy at any size; the noise is per pixel.
    label : {"normal", "cap", "covid"}
        What is drawn where `extent` is above 0: "cap" one or two dense foci, mostly in one lung; "covid"
        patchy ground glass in both, near the chest wall and the base.
    extent : int
        0-8 points. With 0 no opacity is drawn for any label. A "normal" has 0.
    view : {"PA", "AP", "L"}
    hospital : {"A", "B"}
        Curve, sharpness, noise, borders and the marker's place.
    marker : str
        Text burnt into a corner ("R", "L", "PORTABLE"); "" for none.
    visit : int
        Which image of the patient: another positioning and exposure of the same anatomy.

    Raises
    ------
    UserError
        For an unknown label, view or hospital, an extent outside 0-8, or a size below 32 px.
    """
    shape = _check(size, label, extent, view, hospital)
    body, pose = draw_body(seed), draw_pose(seed, visit, view)
    canvas = Canvas(shape, pose.rotation, pose.scale, pose.shift)
    drawing = lateral if view == "L" else frontal
    outlines = drawing.lung_polygons(body, pose)
    opacities = draw_opacities(canvas, seed, visit, label, extent, outlines)
    layer = drawing.attenuation(canvas, body, pose, seed, opacities)
    layer = layer + devices(canvas, seed, visit, pose.portable)
    grey = expose(canvas, layer, seed, visit, hospital)
    image = np.clip(np.rint(grey * 255.0), 0, 255).astype(np.uint8)
    lungs = canvas.inside(*outlines)
    return PhantomSample(
        image=stamp_marker(image, marker, seed, visit, hospital),
        lungs=lungs.astype(np.uint8) * 255,
        opacity=(opacities.mask & lungs).astype(np.uint8) * 255,
        extent=int(extent),
        label=label,
        view=view,
        hospital=hospital,
        marker=marker,
    )


def _check(size: int | tuple[int, int], label: str, extent: int, view: str, hospital: str) -> tuple[int, int]:
    shape = (size, size) if isinstance(size, (int, np.integer)) else tuple(size)
    if len(shape) != 2 or min(shape) < MIN_SIZE:
        raise UserError("phantom", f"size {size} is too small", f"Ask for at least {MIN_SIZE} px a side")
    for what, value, known in (("label", label, LABELS), ("view", view, VIEWS), ("hospital", hospital, HOSPITALS)):
        if value not in known:
            raise UserError("phantom", f"unknown {what} {value!r}", f"Known are: {', '.join(known)}")
    if extent not in range(MAX_EXTENT + 1):
        raise UserError("phantom", f"extent {extent} is not a whole number from 0 to {MAX_EXTENT}", "Change it")
    if label == "normal" and extent:
        raise UserError("phantom", f"a normal image cannot have extent {extent}", "Use 0, or another label")
    return int(shape[0]), int(shape[1])
