"""Augmentation of training images: one composed affine transform a sample, keyed by (seed, epoch, image).

The random numbers of a picture depend on nothing else, so the same picture gets the same augmentation in any
batch, at any parallelism and after a resume. Units are the field's: degrees, fractions of a side, zoom
factors above 1 that enlarge. Transforms are composed in the order of Keras' `ImageDataGenerator`, which the
reproduced papers used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from covid_keras.common.errors import UserError

FILLS = ("nearest", "constant", "reflect")
# The draws of a sample, in this order. New ones go to the end: the others' values must not change.
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
    """What may happen to a training image; the default changes nothing.

    Parameters
    ----------
    rotation : float
        Largest angle in degrees; drawn from -rotation..rotation.
    shift : (float, float)
        Largest shift as a fraction of (height, width); drawn from -shift..shift for each axis.
    zoom : (float, float)
        Smallest and largest zoom factor; above 1 the picture is enlarged. (`ImageDataGenerator` draws the
        reciprocal: its `zoom_range=[0.8, 1.5]` is about (0.67, 1.25) here, otherwise spread; see `zoom_range`.)
    shear : float
        Largest shear angle in degrees; drawn from -shear..shear.
    flip, vertical_flip : bool
        Mirror left-right, top-bottom, each with probability 1/2.
    fill : {"nearest", "constant", "reflect"}
        What stands outside the picture: its border pixel, `fill_value`, or its mirror image
        (d c b a | a b c d).
    fill_value : float
        Grey level for "constant", 0 to 255.
    keep_aspect : bool
        One zoom factor for both axes. False draws one for each axis, as `ImageDataGenerator` does.
    brightness, contrast : (float, float)
        Smallest and largest factor of the grey levels, and of their distance from the picture's mean; results
        are clipped to 0..255.
    zoom_range : (float, float), optional
        In place of `zoom`: smallest and largest reciprocal of the zoom factor, that reciprocal being what is drawn
        uniformly, as `ImageDataGenerator` does; above 1 the picture gets smaller.

    Raises
    ------
    UserError
        If a range is empty, negative or out of order, `zoom` and `zoom_range` are both given, or `fill` is unknown.
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
                raise UserError(f"augmentation {name}", f"{value} is negative or not finite", "Give its largest size")
        for name in factors:
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                remedy = "Give the smallest and the largest factor; 1 changes nothing"
                raise UserError(f"augmentation {name}", f"({low}, {high}) is not 0 < smallest <= largest", remedy)
        if self.zoom_range is not None and self.zoom != (1.0, 1.0):
            raise UserError("augmentation zoom_range", f"{self.zoom} is given as zoom too", "Give one of the two")
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
        """Return what Keras' legacy `ImageDataGenerator` does with these arguments, on square images.

        Parameters
        ----------
        rotation_range, shear_range : float
            Largest angle in degrees, the shear's too: `shear_range=0.15` is 0.15 degrees, which moves no pixel of a
            256 pixel image by more than half a pixel; a shear of 15 degrees moves some by 33.
        width_shift_range, height_shift_range : float
            Largest shift as a fraction of the side, below 1. As the class acts, not as it is documented: it moves the
            picture by `width_shift_range` up and down and by `height_shift_range` left and right. [1]_
        zoom_range : float or (float, float)
            Each axis' coordinates are multiplied by a number drawn from 1 - z to 1 + z, or from the first to the
            second: below 1 the picture is enlarged.
        horizontal_flip, vertical_flip : bool
        fill_mode : {"nearest", "constant", "reflect"}
            Keras' "wrap" is not offered.
        cval : float
            Grey level for "constant". Keras cuts the picture's edge sharply, here it fades within one pixel.

        Raises
        ------
        UserError
            If a shift is in pixels or a list, a range is negative or holds 0, or `fill_mode` is unknown.

        Notes
        -----
        The class of Keras 3.15 composes rotation, shift, shear and zoom about the centre (n - 1) / 2 of the pixel
        grid and flips the result, as `transform_matrices` does. On other than square images it takes the centre of
        the transposed image, and a shift is a fraction of the other side; neither is imitated.

        References
        ----------
        .. [1] Keras issue 17398, 2023: `apply_affine_transform` swaps the axes of its matrix, its callers do not.
        """
        for name, value in (("width_shift_range", width_shift_range), ("height_shift_range", height_shift_range)):
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise UserError(name, f"{value!r} is no fraction of the side from 0 to below 1", "Give a fraction")
        # One number is half the width of the range around 1.
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
    """Return two floats; raise `UserError` if `value` is something else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UserError(f"augmentation {name}", f"{value!r} is not a pair", "Give two numbers")
    return float(value[0]), float(value[1])


def sample_key(seed: int | tf.Tensor, epoch: int | tf.Tensor) -> tf.Tensor:
    """Return one int64 for (seed, epoch), both in 0..2**31-1: different pairs have different keys."""
    return tf.cast(seed, tf.int64) * _MAX_KEY + tf.cast(epoch, tf.int64)


def check_seed(seed: int) -> None:
    """Raise `UserError` if `seed` is not a whole number in 0..2**31-1."""
    if isinstance(seed, bool) or int(seed) != seed or not 0 <= seed < _MAX_KEY:
        raise UserError("seed", f"{seed!r} is not a whole number from 0 to {_MAX_KEY - 1}", "Choose another seed")


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
        `zoom_y` and `zoom_x` (above 1 enlarges), `flip` and `vertical_flip` (-1 mirrored, 1 not),
        `brightness`, `contrast`.
    """
    key = sample_key(seed, epoch)

    def draw(image_id: tf.Tensor) -> tf.Tensor:
        # Philox is named since the default may differ between devices.
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
        As `draw_parameters` returns them. Positive angles turn the picture counter-clockwise; positive shifts
        move it right and down.
    height, width : int or scalar tensor
        Of the images, in pixels.

    Returns
    -------
    tensor (B, 8) float32
        Rows (a0, a1, a2, b0, b1, b2, 0, 0) which take a pixel (x, y) of the result to the point
        (a0 x + a1 y + a2, b0 x + b1 y + b2) of the picture, as `ImageProjectiveTransformV3` wants them.

    Notes
    -----
    With the centre c of the pixel grid: picture = c + R (t + S Z F (result - c)), the composition of Keras'
    `ImageDataGenerator`: rotation R, shift t, shear S = [[1, -sin], [0, cos]], zoom Z, flip F.
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
        "nearest" for masks, whose values must stay as they are.

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
    """Augment a batch; a picture's result depends only on the picture, its id, the seed and the epoch.

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
        Grey levels 0..255, bilinear interpolation.
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
