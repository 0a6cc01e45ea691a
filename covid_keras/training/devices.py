"""Devices and precision of an execution."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from covid_keras.common.errors import UserError
from covid_keras.common.quiet import keep_float32
from covid_keras.training.choices import PRECISIONS, STRATEGIES, require_choice

_log = logging.getLogger(__name__)


def resolve_strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Return a distribution strategy.

    Parameters
    ----------
    name : {"auto", "one", "mirrored", "tpu"}
        "auto": a TPU if there is one, all GPUs if there are several, else one device. "mirrored": all GPUs,
        or all logical CPU devices if there is no GPU.

    Raises
    ------
    UserError
        If no TPU is found, or there is only one device to mirror over.
    """
    require_choice("--strategy", name, STRATEGIES)
    gpus = tf.config.list_logical_devices("GPU")
    if name == "tpu" or (name == "auto" and tf.config.list_physical_devices("TPU")):
        return _tpu()
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        if len(devices) < 2:
            raise UserError(
                "--strategy mirrored", f"there is only one device ({devices[0].name})", "Use --strategy one"
            )
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        _log.debug("no TPU: %s", error)
        raise UserError(
            "--strategy tpu", "no TPU answers on this machine", "Use --strategy auto, or start a TPU VM"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def require_pieces(strategy: tf.distribute.Strategy, size: int) -> None:
    """Raise `UserError` if batches are to be processed in pieces of `size` images, 0 for whole ones, on many devices.

    Keras' layers combine their statistics across devices in each call, which TensorFlow does not allow in a loop.
    """
    if size and strategy.num_replicas_in_sync > 1:
        problem = f"cannot divide what {strategy.num_replicas_in_sync} devices share already"
        raise UserError(f"--micro-batch {size}", problem, "Omit it, or give --strategy one")


def needs_full_batches(strategy: tf.distribute.Strategy, images: int, batch_size: int) -> bool:
    """Return whether the smaller last batch of an epoch cannot be trained on.

    A TPU needs batches of one shape. Of a batch of fewer images than devices, some devices would get none, and batch
    normalisation would be of nothing there.
    """
    few = 0 < images % batch_size < strategy.num_replicas_in_sync
    return few or isinstance(strategy, tf.distribute.TPUStrategy)


def set_precision(name: str = "float32") -> None:
    """Set Keras' dtype policy; reported results use float32.

    Parameters
    ----------
    name : {"float32", "bf16", "fp16"}
    """
    require_choice("--precision", name, PRECISIONS)
    keras.mixed_precision.set_dtype_policy(PRECISIONS[name])


@contextmanager
def fresh_state() -> Iterator[None]:
    """Start with the global Keras state of a fresh process (names, seeds, policy) and clear it afterwards.

    Existing models stay usable.
    """
    policy = keras.config.dtype_policy()
    keras.utils.clear_session()
    try:
        yield
    finally:
        keras.utils.clear_session()
        keras.config.set_dtype_policy(policy)


def set_graph_optimizer(quick_start: bool) -> None:
    """Disable TensorFlow's graph optimisation for a quick start.

    TensorFlow reads this once, before its first operation. A run in one process must set it before segmentation, or its
    trainings would round differently from those in separate processes.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": quick_start})


def compute_reproducibly() -> None:
    """Make operations deterministic, and float32 products on GPUs exact."""
    tf.config.experimental.enable_op_determinism()
    keep_float32()


def describe_device() -> dict[str, Any]:
    """Return the devices that TensorFlow sees, and whether they may round float32 products (TF32), for provenance."""
    details = []
    for device in tf.config.list_physical_devices("GPU"):
        details.append(tf.config.experimental.get_device_details(device).get("device_name", device.name))
    rounded = tf.config.experimental.tensor_float_32_execution_enabled()
    return {"gpus": details, "tpus": len(tf.config.list_physical_devices("TPU")), "tf32": rounded}


if __name__ == "__main__":
    # Called by `covid_keras.training.choices.require_devices`, which reads the last line.
    try:
        resolve_strategy(sys.argv[1])
    except UserError as error:
        sys.exit(print(json.dumps([error.subject, error.problem, error.remedy])) or 2)
