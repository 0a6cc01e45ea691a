"""Burnt-in text and side markers: find them, conceal them, and measure their effect on a network.

Text is located, not read. Text and markers are small bright shapes of even grey, mostly near the border of the picture,
and their edges are much sharper than those of bone.

References
----------
.. [1] A. Haghanifar et al., "COVID-CXNet", arXiv 2006.13807, 2020, section 5 and figure 17: text on the image draws
   the heat, and concealing it changes the heat map. The paper does not state how the text was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import pandas as pd

from covid_keras.common.progress import progress
from covid_keras.explain.where import heat_in_lungs

if TYPE_CHECKING:
    import keras

# Lengths are relative to the longer side of the picture, unless stated otherwise.
WORKING_SIDE = 640  # larger pictures are reduced to this longer side (pixels) for the search
_REACH = 0.09  # maximum width of a stroke or box
_LONGEST, _SHORTEST = 0.17, 0.012  # limits of the longer side of a shape's bounding box
_THIN, _SLENDER = 0.012, 5  # a thinner shape with a higher aspect ratio is a wire or the edge of a frame
# Grey levels above the surroundings at which shapes are cut out; higher ones separate letters from adjacent bone.
_LEVELS = (55, 90, 140)
_BRIGHT = 90  # minimum median grey level of a shape
_FEWEST = 6  # minimum number of pixels of a shape
_MOSTLY = 0.5  # maximum share of a shape's length on the border of the picture
_SHARP = 0.60  # minimum edge sharpness (see _edge_sharpness): text has 0.6 to 1, bone mostly below 0.5
_LESS_SHARP, _NEAR = 0.40, 0.03  # minimum edge sharpness of a shape within this distance of a sharp one
_OUTSIDE = 0.75  # minimum share of a shape outside the lungs or, without a lung mask, in the border strips
_FRAME = (0.20, 0.14)  # border strips searched without a lung mask, relative to the picture's width and height
_GROW = 0.012  # diameter of the dilation that covers soft edges and gaps in letters
_INPAINT = 0.012  # radius of the inpainting


class _Shape(NamedTuple):
    """A shape brighter than its surroundings."""

    pixels: np.ndarray  # (H, W) bool within its window
    window: tuple[slice, slice]
    contrast: float


def find_text(image: np.ndarray, lungs: np.ndarray | None = None) -> np.ndarray:
    """Find burnt-in text and markers outside the lungs of a radiograph.

    Judged by eye on 40 radiographs of three collections (most constants were chosen on 40 others): in 30 of the 32 with
    text, some of it is found; in about 20, all of it. Dim lead letters, dark letters on white, watermarks and text on
    the lungs are missed. In about a third of the radiographs, a clip, a wire or the edge of the exposed field is
    included; bone hardly ever.

    Parameters
    ----------
    image : ndarray (H, W) or (H, W, 3) uint8, or float 0..1
        The radiograph, bone bright.
    lungs : ndarray (H, W), optional
        Lung mask (`lungs > 0`). Shapes with more than a quarter on the lungs are ignored. Without a mask, only the
        border of the picture is searched.

    Returns
    -------
    ndarray (H, W) bool
        Text and markers, dilated with a disk whose diameter is about one per cent of the longer side.

    Raises
    ------
    ValueError
        If a shape is invalid, image and lungs differ in shape, or float values are outside 0..1.
    """
    grey = _as_grey(image)
    allowed = _where_text_may_be(grey.shape, lungs)
    scale = min(1.0, WORKING_SIDE / max(grey.shape))
    small = grey if scale == 1 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    allowed = cv2.resize(allowed.astype(np.uint8), small.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    outside = [shape for shape in _bright_shapes(small) if allowed[shape.window][shape.pixels].mean() >= _OUTSIDE]
    found = cv2.dilate(_sharp_ones(small, outside), _disk(_GROW * max(small.shape)))
    return cv2.resize(found, grey.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _sharp_ones(grey: np.ndarray, shapes: Sequence[_Shape]) -> np.ndarray:
    """Return the shapes with edges as sharp as text, and less sharp ones next to them: uint8 (H, W), 0 or 1."""
    found = np.zeros(grey.shape, np.uint8)
    sharpness = [(shape, _edge_sharpness(grey, shape)) for shape in shapes]
    for shape in (shape for shape, sharp in sharpness if sharp >= _SHARP):
        found[shape.window][shape.pixels] = 1
    beside = cv2.dilate(found, _disk(2 * _NEAR * max(grey.shape))) > 0
    for shape in (shape for shape, sharp in sharpness if sharp >= _LESS_SHARP):
        if beside[shape.window][shape.pixels].any():
            found[shape.window][shape.pixels] = 1
    return found


def conceal(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Inpaint the masked part of an image from its surroundings (Telea's method).

    Parameters
    ----------
    image : ndarray (H, W) or (H, W, C), uint8 or float
    mask : ndarray (H, W)
        `mask > 0` is concealed, as from `find_text`.

    Returns
    -------
    ndarray
        A copy with the image's shape and dtype, unchanged outside the mask.

    Raises
    ------
    ValueError
        If the mask does not have the image's height and width.
    """
    image, hidden = np.asarray(image), np.asarray(mask) > 0
    if image.ndim not in (2, 3) or hidden.shape != image.shape[:2]:
        raise ValueError(f"mask must have the image's height and width (got {hidden.shape} and {image.shape})")
    if not hidden.any():
        return image.copy()
    radius = max(2.0, _INPAINT * max(hidden.shape))
    planes = image if image.ndim == 3 else image[..., None]
    planes = planes if image.dtype == np.uint8 else planes.astype(np.float32)
    filled = [
        cv2.inpaint(np.ascontiguousarray(planes[..., k]), hidden.astype(np.uint8), radius, cv2.INPAINT_TELEA)
        for k in range(planes.shape[2])
    ]
    guessed = np.stack(filled, axis=-1).reshape(image.shape).astype(image.dtype)
    return np.where(hidden if image.ndim == 2 else hidden[..., None], guessed, image)


def text_effect(
    model: keras.Model,
    images_before: np.ndarray,
    images_after: np.ndarray,
    text_masks: np.ndarray,
    class_index: int,
    layer: str | None = None,
    batch_size: int = 16,
) -> pd.DataFrame:
    """Compare a network's output and Grad-CAM heat before and after concealing text [1]_.

    Parameters
    ----------
    model, layer
        As in `covid_keras.explain.grad_cam`.
    images_before, images_after : ndarray (n, H, W, C) float
        The same images with and without the text, both prepared and scaled as the model takes them.
    text_masks : ndarray (n, H, W)
        In the geometry of the prepared images; `text_masks > 0` is text.
    class_index : int
        The class whose probability and heat are compared.
    batch_size : int
        Images held by the network at a time.

    Returns
    -------
    DataFrame, one row per image
        `probability_before`, `probability_after` (the model's output for the class); `heat_on_text_before`,
        `heat_on_text_after` (share of the heat on text; NaN if all heat is zero); `text_area` (the text's share of
        the picture, equal to its share of evenly spread heat).

    Raises
    ------
    ValueError
        If the shapes do not agree.
    UserError
        If the model cannot be explained.
    """
    before, after, masks = (np.asarray(part) for part in (images_before, images_after, text_masks))
    if before.shape != after.shape or masks.shape != before.shape[:3]:
        raise ValueError(f"shapes must agree (got images {before.shape} and {after.shape}, masks {masks.shape})")
    # Imported here, so that finding and concealing text does not import TensorFlow.
    from covid_keras.explain.gradcam import cam_of
    from covid_keras.explain.network import LayerGradients, class_scores

    taker = LayerGradients(model, layer)
    table: dict[str, list[float]] = {}
    for start in progress(range(0, len(before), batch_size), "text concealed", unit="batch"):
        part = slice(start, start + batch_size)
        for when, images in (("before", before[part]), ("after", after[part])):
            taken = taker(images, class_index)
            shares = [heat_in_lungs(*pair) for pair in zip(cam_of(taken, masks.shape[1:]), masks[part], strict=True)]
            table.setdefault(f"probability_{when}", []).extend(class_scores(taken.outputs, taken.classes).tolist())
            table.setdefault(f"heat_on_text_{when}", []).extend(shares)
    columns = ["probability_before", "probability_after", "heat_on_text_before", "heat_on_text_after"]
    frame = pd.DataFrame(table, columns=columns, dtype=float)
    return frame.assign(text_area=(masks > 0).mean(axis=(1, 2)) if len(masks) else [])


def _as_grey(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim == 3 and image.shape[2] in (1, 3):
        image = image.mean(axis=2).astype(image.dtype)
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"image must have the shape (H, W) or (H, W, 3) (got {image.shape})")
    if image.dtype == np.uint8:
        return image
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError("float image must be within 0 to 1")
    return np.rint(image * 255).astype(np.uint8)


def _where_text_may_be(shape: tuple[int, int], lungs: np.ndarray | None) -> np.ndarray:
    if lungs is not None:
        if np.shape(lungs) != shape:
            raise ValueError(f"lungs must have the shape of the image, {shape} (got {np.shape(lungs)})")
        return np.asarray(lungs) <= 0
    allowed = np.ones(shape, bool)
    rows, columns = round(_FRAME[1] * shape[0]), round(_FRAME[0] * shape[1])
    allowed[rows : shape[0] - rows, columns : shape[1] - columns] = False
    return allowed


def _disk(diameter: float) -> np.ndarray:
    side = max(3, 2 * round(diameter / 2) + 1)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _bright_shapes(grey: np.ndarray) -> list[_Shape]:
    """Return the small connected shapes brighter than their surroundings."""
    longer = max(grey.shape)
    side = max(5, 2 * round(_REACH * longer / 2) + 1)
    # Mirrored at the border, so that a marker cut off by it still counts as small.
    pad = side // 2
    padded = cv2.copyMakeBorder(grey, pad, pad, pad, pad, cv2.BORDER_REFLECT)
    raised = cv2.morphologyEx(padded, cv2.MORPH_TOPHAT, np.ones((side, side), np.uint8))[pad:-pad, pad:-pad]
    return [shape for level in _LEVELS for shape in _shapes_above(grey, raised, level)]


def _shapes_above(grey: np.ndarray, raised: np.ndarray, level: int) -> Iterator[_Shape]:
    longer = max(raised.shape)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((raised > level).astype(np.uint8), connectivity=8)
    for number in range(1, count):
        x, y, width, height, area = boxes[number]
        longest, shortest = max(width, height) / longer, min(width, height) / longer
        line = shortest < _THIN and longest > _SLENDER * shortest
        if line or area < _FEWEST or not _SHORTEST <= longest <= _LONGEST:
            continue
        window = np.s_[y : y + height, x : x + width]
        pixels = labels[window] == number
        # The edge of a shape is at half its peak, not at a fixed level.
        peak = float(np.percentile(raised[window][pixels], 90))
        pixels &= raised[window] >= peak / 2
        # Tissue between the border and a dark region touches the border with a whole side; a cut-off letter does not.
        if _on_border(pixels, window, raised.shape) > _MOSTLY * max(width, height):
            continue
        if pixels.sum() >= _FEWEST and np.median(grey[window][pixels]) >= _BRIGHT:
            yield _Shape(pixels, window, peak)


def _on_border(pixels: np.ndarray, window: tuple[slice, slice], shape: tuple[int, ...]) -> int:
    """Return the number of pixels of a shape on the border of the picture."""
    rows, columns = window
    sides = (
        (rows.start == 0, pixels[0]),
        (rows.stop == shape[0], pixels[-1]),
        (columns.start == 0, pixels[:, 0]),
        (columns.stop == shape[1], pixels[:, -1]),
    )
    return sum(int(side.sum()) for touches, side in sides if touches)


def _edge_sharpness(grey: np.ndarray, shape: _Shape) -> float:
    """Return the median step of grey within one pixel of the shape's edge, as a share of its contrast."""
    (top, bottom), (left, right) = ((part.start, part.stop) for part in shape.window)
    around = np.s_[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2]
    step = cv2.morphologyEx(grey[around], cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    pixels = np.zeros(step.shape, np.uint8)
    pixels[top - around[0].start :, left - around[1].start :][: bottom - top, : right - left] = shape.pixels
    edge = (pixels > 0) & (cv2.erode(pixels, np.ones((3, 3), np.uint8)) == 0)
    return float(np.median(step[edge]) / shape.contrast)
