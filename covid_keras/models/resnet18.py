"""ResNet-18 of torchvision, optionally with torchvision's weights."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers

from covid_keras.common.errors import UserError
from covid_keras.models.weight_kinds import is_numpy_archive
from covid_keras.models.weights import LoadReport, load_weights

STAGES = (64, 128, 256, 512)
BLOCKS = 2
# The first six children of torchvision's network that have weights.
FROZEN_PARTS = ("conv1", "bn1", "layer1", "layer2")
# PyTorch's defaults; its momentum of 0.1 weighs the new value, Keras' momentum the old one.
EPSILON, MOMENTUM = 1e-5, 0.9
# Tensor names of torchvision and Keras.
_TENSORS = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Stored by batch normalisation since PyTorch 0.4.1; counts batches and affects no result.
_COUNTER = "num_batches_tracked"
_HEAD = "fc"
_MAKE_FILE = (
    "Create the file where torchvision is installed: "
    "state = torchvision.models.resnet18(weights='IMAGENET1K_V1').state_dict(); "
    "numpy.savez('resnet18.npz', **{k: v.numpy() for k, v in state.items()}); and give resnet18.npz"
)
_DAMAGED = (OSError, EOFError, ValueError, zipfile.BadZipFile, RuntimeError, zlib.error)


@keras.saving.register_keras_serializable("covid_keras")
class FixedScaleBatchNormalization(layers.BatchNormalization):
    """Batch normalisation with fixed gamma and beta.

    In training it normalises by the batch and updates the moving statistics, but gamma and beta are not trainable, like
    PyTorch's layer in training mode without gradients. With `trainable = False` it uses the moving statistics and keeps
    them, like Keras' layer.
    """

    def add_weight(self, *args, **kwargs):
        # Created non-trainable, because `model.trainable = True` would reset a later change.
        return super().add_weight(*args, **(kwargs | {"trainable": False}))


@dataclass(frozen=True)
class TorchvisionReport(LoadReport):
    """Report of `load_torchvision`.

    Attributes
    ----------
    random : tuple of str
        Layers that keep their values: ("fc",) if the file's head has another number of classes, else ().
    """

    random: tuple[str, ...] = ()


def build_resnet18(
    input_shape: tuple[int | None, int | None, int] = (256, 256, 3),
    classes: int = 2,
    weights: str | Path = "none",
    frozen: bool = False,
    batchnorm_momentum: float = MOMENTUM,
    activation: str | None = None,
    name: str = "resnet18",
) -> keras.Model:
    """Build ResNet-18: 11,689,512 parameters for 1000 classes, 11,177,538 for two, without moving statistics.

    Conv 7x7 of stride 2, 3x3 max pooling of stride 2, four stages of two basic blocks (64, 128, 256, 512 channels; the
    first block of stages 2 to 4 of stride 2, with a 1x1 convolution beside it), global average pooling, dense layer.
    All padding is symmetric, as in PyTorch; with strides, Keras' "same" pads even sizes only at the end.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels; height and width may be None. COVID-SDNet uses RGB divided by 255; torchvision's
        weights were trained on that, standardised with ImageNet's means and standard deviations.
    classes : int
        Number of outputs.
    weights : "none" or path
        Random, or a file: `.npz` (see `load_torchvision`) or HDF5 (see `load_weights`).
    frozen : bool
        Freeze conv1, bn1, layer1 and layer2, as the authors' code of the class-inherent transformations does. Their
        batch normalisation still uses batch statistics in training (see `FixedScaleBatchNormalization`).
    batchnorm_momentum : float
        Momentum of the moving statistics. PyTorch's moving variance is unbiased: n / (n - 1) times Keras' value, with n
        values per channel and batch. This factor is not reproduced.
    activation : str, optional
        Activation of the output. Default: none (logits).
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled and flat; output float32 (batch, classes). Layer names are those of torchvision with "_" for ".",
        such as `layer2_0_downsample_0` and `fc`.

    Raises
    ------
    UserError
        If the file does not fit, or `weights` is "imagenet", which keras.applications does not have.

    References
    ----------
    K. He et al., "Deep residual learning for image recognition", CVPR 2016, table 1. S. Tabik et al., "COVIDGR dataset
    and COVID-SDNet methodology for predicting COVID-19 based on chest X-ray images", IEEE JBHI 24(12), 2020,
    section IV-2.
    """
    if weights == "imagenet":
        raise UserError("resnet18", "has no ImageNet weights in keras.applications", _MAKE_FILE)
    build = _Builder(batchnorm_momentum, FROZEN_PARTS if frozen else ())
    inputs = keras.Input(input_shape, name="radiograph")
    x = build.convolution(inputs, STAGES[0], 7, 2, "conv1")
    x = layers.ReLU(name="relu")(build.normalisation(x, "bn1"))
    # Zero padding equals PyTorch's minus infinity here, because values after the ReLU are not negative.
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="maxpool")(x)
    for stage, filters in enumerate(STAGES, start=1):
        for block in range(BLOCKS):
            x = build.block(x, filters, 2 if stage > 1 and block == 0 else 1, f"layer{stage}_{block}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    outputs = layers.Dense(classes, activation=activation, dtype="float32", name=_HEAD)(x)
    model = keras.Model(inputs, outputs, name=name)
    if weights != "none":
        _load(model, weights)
    return model


@dataclass(frozen=True)
class _Builder:
    """Builder of the layers, frozen or trainable."""

    momentum: float
    frozen: tuple[str, ...]

    def _is_frozen(self, name: str) -> bool:
        return name.split("_")[0] in self.frozen

    def convolution(self, x, filters: int, size: int, stride: int, name: str):
        """Convolution without bias, padded by half the kernel size on each side."""
        if stride > 1 and size > 1:
            x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        return layers.Conv2D(
            filters,
            size,
            strides=stride,
            padding="valid" if stride > 1 else "same",
            use_bias=False,
            # as in torchvision: He normal by fan-out
            kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
            trainable=not self._is_frozen(name),
            name=name,
        )(x)

    def normalisation(self, x, name: str):
        kind = FixedScaleBatchNormalization if self._is_frozen(name) else layers.BatchNormalization
        return kind(momentum=self.momentum, epsilon=EPSILON, name=name)(x)

    def block(self, x, filters: int, stride: int, name: str):
        """Basic block: two 3x3 convolutions plus the input, through a 1x1 convolution if the shape changes."""
        shortcut = x
        x = self.convolution(x, filters, 3, stride, f"{name}_conv1")
        x = layers.ReLU(name=f"{name}_relu1")(self.normalisation(x, f"{name}_bn1"))
        x = self.normalisation(self.convolution(x, filters, 3, 1, f"{name}_conv2"), f"{name}_bn2")
        if stride > 1:
            shortcut = self.convolution(shortcut, filters, 1, stride, f"{name}_downsample_0")
            shortcut = self.normalisation(shortcut, f"{name}_downsample_1")
        return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, shortcut]))


def _load(model: keras.Model, path: str | Path) -> LoadReport:
    """Load a file of either format, detected from its content."""
    if not Path(path).is_file():
        raise UserError(path, "is not a weight file", "Check the path, or give none for random weights")
    return load_torchvision(model, path) if is_numpy_archive(path) else load_weights(model, path)


def load_torchvision(model: keras.Model, path: str | Path) -> TorchvisionReport:
    """Load torchvision's ResNet-18 from a state dict stored as `.npz`.

    Create the file with `np.savez(file, **{k: v.numpy() for k, v in state.items()})`. Kernels are transposed to Keras'
    order of axes. Nothing is unpickled, and shape and type of an array are checked before its values are read.

    Parameters
    ----------
    model : keras.Model
        From `build_resnet18`. Not changed if an error is raised.
    path : str or Path
        The `.npz`, compressed or not. If its head has another number of classes, the model's head is not changed.

    Returns
    -------
    TorchvisionReport
        `assigned` maps "layer/variable" to the name in the state dict.

    Raises
    ------
    UserError
        If a tensor is missing, left over, not finite, or of another shape or type; if the file is damaged or not an
        `.npz` archive.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            values, pairs = _fitted(model, path, archive)
    except _DAMAGED as error:
        raise UserError(path, f"cannot be read as .npz ({error})", _MAKE_FILE) from error
    for variable, value in zip(pairs.values(), values, strict=True):
        variable.assign(value)
    random = () if any(name.startswith(f"{_HEAD}.") for name in pairs) else (_HEAD,)
    assigned = {"/".join(variable.path.split("/")[-2:]): name for name, variable in pairs.items()}
    return TorchvisionReport(path, "torchvision", assigned, sum(value.size for value in values), random=random)


def _fitted(
    model: keras.Model, path: Path, archive: zipfile.ZipFile
) -> tuple[list[np.ndarray], dict[str, keras.Variable]]:
    """Match all tensors of file and model; return the values and their assignment."""
    wanted = {
        f"{layer.name.replace('_', '.')}.{_TENSORS[variable.name]}": variable
        for layer in model.layers
        for variable in layer.weights
    }
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    for name in wanted:
        if name not in members:
            raise UserError(path, f"has no tensor {name!r}", _MAKE_FILE)
    for name in members:
        if name not in wanted and not name.endswith(f".{_COUNTER}"):
            raise UserError(path, f"has a tensor {name!r} that is not in ResNet-18", "Give the file of a ResNet-18")
    kept = _kept_head(path, archive, members, wanted)
    pairs = {name: variable for name, variable in wanted.items() if name not in kept}
    return [_value(path, archive, members[name], name, variable) for name, variable in pairs.items()], pairs


def _kept_head(path: Path, archive: zipfile.ZipFile, members: dict, wanted: dict) -> tuple[str, ...]:
    """Return the tensors of the head if the file has another number of classes, so that the model keeps its own."""
    kernel, bias = f"{_HEAD}.weight", f"{_HEAD}.bias"
    features, classes = wanted[kernel].shape
    found = [_declared(path, archive, members[name], name)[0] for name in (kernel, bias)]
    other = found[1][0] if len(found[1]) == 1 else classes
    return (kernel, bias) if other != classes and found == [(other, features), (other,)] else ()


def _declared(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> tuple[tuple, np.dtype]:
    """Read shape and type of an array without its values."""
    with archive.open(info) as file:
        # NumPy writes this version whenever possible; later versions allow headers of any length.
        if np.lib.format.read_magic(file) != (1, 0):
            raise UserError(path, f"{name} is not stored as numpy.savez does", _MAKE_FILE)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return shape, dtype


def _value(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, variable) -> np.ndarray:
    """Read a tensor in Keras' order of axes, after checking shape and type."""
    shape, dtype = _declared(path, archive, info, name)
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[len(variable.shape)]
    inverse = np.argsort(axes)
    expected = tuple(variable.shape[axis] for axis in inverse)
    if shape != expected:
        raise UserError(path, f"{name} has shape {shape}, ResNet-18 expects {expected}", "Give the file of a ResNet-18")
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise UserError(path, f"{name} must have a floating-point type (got {dtype})", _MAKE_FILE)
    with archive.open(info) as file:
        value = np.lib.format.read_array(file, allow_pickle=False).astype(np.float32).transpose(axes)
    if not np.isfinite(value).all():
        raise UserError(path, f"{name} has NaN or infinite values", _MAKE_FILE)
    return value
