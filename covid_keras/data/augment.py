"""Augmentation of training images: one composed affine transform per sample, keyed by (seed, epoch, image).

An image therefore gets the same augmentation in any batch, at any parallelism and after a resume. Angles are in
degrees, shifts in fractions of a side; zoom factors above 1 enlarge. Transforms are composed in the order of Keras'
`ImageDataGenerator`, which the reproduced papers used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from covid_keras.common.errors import UserError

FILLS = ("nearest", "constant", "reflect")
# The draws of a sample, in order. Append new ones, so that the values of the others do not change.
_DRAWS = (
    "rotation",
    "shift_y",
    "shift_x",
    "zoom_y",
    "zoom_x",
    "shear",
    "flip",
    "vertical_flip",
    "brightness",
    "contrast",
)
_MAX_KEY = 2**31
_MAX_VALUE = 255.0


@dataclass(frozen=True)
class Augmentation:
    """Random transforms of training images; the default changes nothing.

    Parameters
    ----------
    rotation : float
        Largest angle in degrees; drawn from -rotation..rotation.
    shift : (float, float)
        Largest shift as a fraction of (height, width); drawn from -shift..shift for each axis.
    zoom : (float, float)
        Smallest and largest zoom factor; above 1 enlarges. `ImageDataGenerator` draws the reciprocal instead: see
        `zoom_range`.
    shear : float
        Largest shear angle in degrees; drawn from -shear..shear.
    flip, vertical_flip : bool
        Mirror left-right, top-bottom, each with probability 1/2.
    fill : {"nearest", "constant", "reflect"}
        How to fill points outside the image: with the nearest border pixel, with `fill_value`, or by reflection
        (d c b a | a b c d).
    fill_value : float
        Grey level for "constant", 0 to 255.
    keep_aspect : bool
        Use one zoom factor for both axes. False draws one per axis, as `ImageDataGenerator` does.
    brightness, contrast : (float, float)
        Smallest and largest factor of the grey levels, and of their distance from the image's mean. Results are
        clipped to 0..255.
    zoom_range : (float, float), optional
        Replaces `zoom`: range from which the reciprocal of the zoom factor is drawn, as `ImageDataGenerator` does.
        Above 1 shrinks the image.

    Raises
    ------
    UserError
        If a range is empty, negative or out of order, both `zoom` and `zoom_range` are given, or `fill` is unknown.
    """

    rotation: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    flip: bool = False
    fill: str = "nearest"
    fill_value: float = 0.0
    vertical_flip: bool = False
    keep_aspect: bool = True
    brightness: tuple[float, float] = (1.0, 1.0)
    contrast: tuple[float, float] = (1.0, 1.0)
    zoom_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        factors = ("zoom", "brightness", "contrast") + (() if self.zoom_range is None else ("zoom_range",))
        for name in ("shift", *factors):
            object.__setattr__(self, name, _pair(name, getattr(self, name)))
        for name, value in (("rotation", self.rotation), ("shear", self.shear), ("shift", min(self.shift))):
            if not 0 <= value < math.inf:
                raise UserError(
                    f"augmentation {name}", f"must be finite and at least 0 (got {value})", "Give the largest value"
                )
        for name in factors:
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                remedy = "Give the smallest and the largest factor (1 changes nothing)"
                raise UserError(
                    f"augmentation {name}", f"must satisfy 0 < smallest <= largest (got {low}, {high})", remedy
                )
        if self.zoom_range is not None and self.zoom != (1.0, 1.0):
            raise UserError("augmentation zoom_range", "cannot be combined with zoom", "Give one of the two")
        if self.fill not in FILLS:
            raise UserError("augmentation fill", f"'{self.fill}' is unknown", f"Use one of {', '.join(FILLS)}")

    @classmethod
    def like_generator(
        cls,
        rotation_range: float = 0,
        width_shift_range: float = 0,
        height_shift_range: float = 0,
        shear_range: float = 0,
        zoom_range: float | Sequence[float] = 0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        fill_mode: str = "nearest",
        cval: float = 0.0,
    ) -> Augmentation:
        """Return the augmentation of Keras' legacy `ImageDataGenerator` with these arguments, on square images.

        Parameters
        ----------
        rotation_range, shear_range : float
            Largest angle in degrees, also for the shear: `shear_range=0.15` is 0.15 degrees, at most half a pixel in a
            256-pixel image.
        width_shift_range, height_shift_range : float
            Largest shift as a fraction of the side, below 1. As in Keras, and unlike its documentation,
            `width_shift_range` shifts vertically and `height_shift_range` horizontally [1]_.
        zoom_range : float or (float, float)
            The coordinates of each axis are multiplied by a number from 1 - z to 1 + z, or from the given range.
            Numbers below 1 enlarge the image.
        horizontal_flip, vertical_flip : bool
        fill_mode : {"nearest", "constant", "reflect"}
            Keras' "wrap" is not supported.
        cval : float
            Grey level for "constant". Here the image edge fades within one pixel; in Keras it is sharp.

        Raises
        ------
        UserError
            If a shift is in pixels or a list, a range is negative or contains 0, or `fill_mode` is unknown.

        Notes
        -----
        Keras 3.15 composes rotation, shift, shear and zoom about the centre (n - 1) / 2 of the pixel grid and flips
        the result, as `transform_matrices` does. On non-square images it uses the centre of the transposed image and
        shifts by fractions of the other side; this is not reproduced.

        References
        ----------
        .. [1] Keras issue 17398, 2023: `apply_affine_transform` swaps the axes, its callers do not.
        """
        for name, value in (("width_shift_range", width_shift_range), ("height_shift_range", height_shift_range)):
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise UserError(name, f"must be at least 0 and below 1 (got {value!r})", "Give a fraction of the side")
        # A single number is half the width of the range around 1.
        zooms = (
            (1 - zoom_range, 1 + zoom_range) if isinstance(zoom_range, int | float) else _pair("zoom_range", zoom_range)
        )
        return cls(
            rotation=float(rotation_range),
            shift=(width_shift_range, height_shift_range),
            shear=float(shear_range),
            zoom_range=None if zooms == (1, 1) else zooms,
            keep_aspect=False,
            flip=bool(horizontal_flip),
            vertical_flip=bool(vertical_flip),
            fill=fill_mode,
            fill_value=float(cval),
        )

    @property
    def moves(self) -> bool:
        """Whether any geometric transform can happen."""
        zooms = self.zoom != (1.0, 1.0) or self.zoom_range not in (None, (1.0, 1.0))
        return bool(self.rotation or any(self.shift) or zooms or self.shear or self.flip or self.vertical_flip)


def _pair(name: str, value: Any) -> tuple[float, float]:
    """Return two floats; raise `UserError` if `value` is not a pair."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UserError(f"augmentation {name}", f"must be two numbers (got {value!r})", "Give a pair")
    return float(value[0]), float(value[1])


def sample_key(seed: int | tf.Tensor, epoch: int | tf.Tensor) -> tf.Tensor:
    """Combine seed and epoch, both in 0..2**31-1, into a unique int64."""
    return tf.cast(seed, tf.int64) * _MAX_KEY + tf.cast(epoch, tf.int64)


def check_seed(seed: int) -> None:
    """Raise `UserError` if `seed` is not a whole number in 0..2**31-1."""
    if isinstance(seed, bool) or int(seed) != seed or not 0 <= seed < _MAX_KEY:
        raise UserError(
            "seed", f"must be a whole number from 0 to {_MAX_KEY - 1} (got {seed!r})", "Choose another seed"
        )


def draw_parameters(
    ids: tf.Tensor, seed: int | tf.Tensor, epoch: int | tf.Tensor, augmentation: Augmentation
) -> dict[str, tf.Tensor]:
    """Draw the transform parameters of each sample.

    Parameters
    ----------
    ids : tensor (B,) int64
        Stable key of each image.
    seed, epoch : int or scalar tensor
        0..2**31-1.
    augmentation : Augmentation

    Returns
    -------
    dict of str to tensor (B,) float32
        `rotation` and `shear` in degrees, `shift_y` and `shift_x` as fractions of the height and width,
        `zoom_y` and `zoom_x` (above 1 enlarges), `flip` and `vertical_flip` (-1 if mirrored, else 1),
        `brightness`, `contrast`.
    """
    key = sample_key(seed, epoch)

    def draw(image_id: tf.Tensor) -> tf.Tensor:
        # The default algorithm may differ between devices.
        return tf.random.stateless_uniform([len(_DRAWS)], tf.stack([key, image_id]), alg="philox")

    unit = tf.map_fn(draw, tf.cast(ids, tf.int64), fn_output_signature=tf.TensorSpec([len(_DRAWS)], tf.float32))
    unit = dict(zip(_DRAWS, tf.unstack(unit, axis=1), strict=True))

    def between(name: str, low: float, high: float) -> tf.Tensor:
        return low + unit[name] * (high - low)

    def mirrored(name: str, wanted: bool) -> tf.Tensor:
        return tf.where(unit[name] < 0.5, -1.0, 1.0) if wanted else tf.ones_like(unit[name])

    a = augmentation

    def zoom(name: str) -> tf.Tensor:
        return between(name, *a.zoom) if a.zoom_range is None else 1.0 / between(name, *a.zoom_range)

    return {
        "rotation": between("rotation", -a.rotation, a.rotation),
        "shift_y": between("shift_y", -a.shift[0], a.shift[0]),
        "shift_x": between("shift_x", -a.shift[1], a.shift[1]),
        "zoom_y": zoom("zoom_y"),
        "zoom_x": zoom("zoom_y" if a.keep_aspect else "zoom_x"),
        "shear": between("shear", -a.shear, a.shear),
        "flip": mirrored("flip", a.flip),
        "vertical_flip": mirrored("vertical_flip", a.vertical_flip),
        "brightness": between("brightness", *a.brightness),
        "contrast": between("contrast", *a.contrast),
    }


def transform_matrices(parameters: dict[str, tf.Tensor], height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Compose each sample's parameters into one projective transform.

    Parameters
    ----------
    parameters : dict of str to tensor (B,) float32
        From `draw_parameters`. Positive angles rotate counter-clockwise; positive shifts move right and down.
    height, width : int or scalar tensor
        Image size in pixels.

    Returns
    -------
    tensor (B, 8) float32
        Rows (a0, a1, a2, b0, b1, b2, 0, 0) as in `ImageProjectiveTransformV3`: pixel (x, y) of the result is taken
        from the point (a0 x + a1 y + a2, b0 x + b1 y + b2) of the image.

    Notes
    -----
    With the centre c of the pixel grid, image = c + R (t + S Z F (result - c)), as in Keras' `ImageDataGenerator`:
    rotation R, shift t, shear S = [[1, -sin], [0, cos]], zoom Z, flip F.
    """
    height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    radians = math.pi / 180
    cos, sin = tf.cos(parameters["rotation"] * radians), tf.sin(parameters["rotation"] * radians)
    shear = parameters["shear"] * radians
    x_scale = parameters["flip"] / parameters["zoom_x"]
    y_scale = parameters["vertical_flip"] / parameters["zoom_y"]
    # S Z F = [[x_scale, skew], [0, rise]]
    skew, rise = -tf.sin(shear) * y_scale, tf.cos(shear) * y_scale
    a0, a1 = cos * x_scale, cos * skew - sin * rise
    b0, b1 = sin * x_scale, sin * skew + cos * rise
    shift_x, shift_y = -parameters["shift_x"] * width, -parameters["shift_y"] * height
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    a2 = centre_x + cos * shift_x - sin * shift_y - a0 * centre_x - a1 * centre_y
    b2 = centre_y + sin * shift_x + cos * shift_y - b0 * centre_x - b1 * centre_y
    zero = tf.zeros_like(a0)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)


def apply_matrices(
    images: tf.Tensor,
    matrices: tf.Tensor,
    fill: str = "nearest",
    fill_value: float = 0.0,
    interpolation: str = "bilinear",
) -> tf.Tensor:
    """Transform each image by its matrix.

    Parameters
    ----------
    images : tensor (B, H, W, C) float32
    matrices : tensor (B, 8) float32
        From `transform_matrices`.
    fill, fill_value
        As in `Augmentation`.
    interpolation : {"bilinear", "nearest"}
        Use "nearest" for masks, to keep their values.

    Returns
    -------
    tensor (B, H, W, C) float32
    """
    result = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices,
        output_shape=tf.shape(images)[1:3],
        fill_value=fill_value,
        interpolation=interpolation.upper(),
        fill_mode=fill.upper(),
    )
    return tf.ensure_shape(result, images.shape)


def augment_batch(
    images: tf.Tensor, ids: tf.Tensor, seed: int | tf.Tensor, epoch: int | tf.Tensor, augmentation: Augmentation
) -> tf.Tensor:
    """Augment a batch. The result for an image depends only on the image, its id, the seed and the epoch.

    Parameters
    ----------
    images : tensor (B, H, W, C) float32
        Grey levels 0..255.
    ids : tensor (B,) int64
        Stable key of each image, the same in every batch and run.
    seed, epoch : int or scalar tensor
        0..2**31-1.
    augmentation : Augmentation

    Returns
    -------
    tensor (B, H, W, C) float32
        Grey levels 0..255, interpolated bilinearly.
    """
    parameters = draw_parameters(ids, seed, epoch, augmentation)
    if augmentation.moves:
        matrices = transform_matrices(parameters, tf.shape(images)[1], tf.shape(images)[2])
        images = apply_matrices(images, matrices, augmentation.fill, augmentation.fill_value)
    if augmentation.brightness != (1.0, 1.0) or augmentation.contrast != (1.0, 1.0):
        mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
        contrast = parameters["contrast"][:, None, None, None]
        brightness = parameters["brightness"][:, None, None, None]
        images = tf.clip_by_value(((images - mean) * contrast + mean) * brightness, 0.0, _MAX_VALUE)
    return images
