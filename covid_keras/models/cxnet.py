"""The base CNN of COVID-CXNet.

References
----------
.. [1] A. Haghanifar et al., "COVID-CXNet: Detecting COVID-19 in frontal chest X-ray images using deep learning",
   arXiv 2006.13807, 2020, section 3.3. The text gives 3x3 kernels and no strides; kernels, strides and padding are
   here as in every weight file that the authors published.
"""

from __future__ import annotations

import keras
from keras import layers

# The shortest side of which five valid convolutions of stride 2, 5x5 and then 3x3, leave one pixel.
SMALLEST_SIDE = 65


def build_base_cnn(input_shape: tuple[int, int, int] = (400, 400, 1), name: str = "base_cnn") -> keras.Model:
    """Build the base CNN of COVID-CXNet [1]_.

    Five convolutions of 32 filters, stride 2, valid, ReLU, the first 5x5, the others 3x3; two dense layers of 10
    units, ReLU; one sigmoid.

    Parameters
    ----------
    input_shape : tuple of int
        Height, width, channels; height and width at least 65. Values 0 to 1. The authors' files are for
        (400, 400, 1), 76,675 parameters, and (300, 300, 3), 60,035.
    name : str
        Name of the model.

    Returns
    -------
    keras.Model
        Uncompiled; output float32 (batch, 1), the probability of COVID-19. Layers are called as in the authors'
        files, so that `load_weights` reads them.

    Raises
    ------
    ValueError
        Where height or width is below 65.
    """
    if min(input_shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"height and width must be at least {SMALLEST_SIDE}, not {input_shape[0]} x {input_shape[1]}")
    inputs = x = keras.Input(input_shape, name="radiograph")
    for number in range(1, 6):
        x = layers.Conv2D(32, 5 if number == 1 else 3, strides=2, activation="relu", name=f"conv_layer{number}")(x)
    x = layers.Flatten(name="flatten_layer")(x)
    x = layers.Dense(10, activation="relu", name="fc_layer1")(x)
    x = layers.Dense(10, activation="relu", name="fc_layer2")(x)
    # float32 also under a mixed-precision policy: a probability in bfloat16 has three digits.
    outputs = layers.Dense(1, activation="sigmoid", dtype="float32", name="output_layer")(x)
    return keras.Model(inputs, outputs, name=name)
