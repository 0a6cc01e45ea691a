"""The smallest paper: one network that tells synthetic radiographs with opacities from those without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from covid_keras.data.cohort import Cohort
from covid_keras.data.phantom import make_phantom
from covid_keras.data.preparation import Preparation
from covid_keras.data.sources import get_source
from covid_keras.paper import Paper, Trained
from covid_keras.paper.protocol import Protocol

if TYPE_CHECKING:
    import keras


def whole_image(protocol: Protocol) -> Preparation:
    """The whole radiograph, resized."""
    return Preparation(size=protocol.size)


def build_network(protocol: Protocol, classes: tuple[str, ...]) -> keras.Model:
    """Two convolutions, global pooling, softmax over the classes."""
    import keras
    from keras import layers

    inputs = keras.Input((*protocol.size, 1))
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    x = layers.Conv2D(16, 3, strides=2, activation="relu", name="last_convolution")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(len(classes), activation="softmax")(x))


class ExamplePaper(Paper):
    """Its images are the phantom's."""

    def cohort(self, protocol: Protocol, data: Path | None, made: Path) -> Cohort:
        settings = protocol.cohort
        folder = make_phantom(made / "example", settings["patients"], settings["seed"], settings["size"])
        cohort = get_source("phantom").load(folder)
        return Cohort(cohort.table, ("normal", "covid"), cohort.name)


PAPER = ExamplePaper(
    name="example_paper",
    aliases=("example",),
    title="The smallest paper",
    citation="N. Obody, Journal of Examples 1, 2026",
    doi="10.0000/example",
    folder=Path(__file__).parent,
    systems=(Trained("network", "Two convolutions", whole_image, channels=1, build=build_network),),
    positive="covid",
)
