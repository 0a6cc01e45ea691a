"""The networks of `tests.benchmarks.steps` in PyTorch, trained on the same tensors; imported only where PyTorch is.

ResNet-50 is torchvision's with the suite's head. It has no biases in its convolutions, and strides in the 3 x 3
convolutions instead of the first 1 x 1 ones of Keras.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torchvision
from torch import nn

from tests.benchmarks.steps import Training


class _Block(nn.Sequential):
    """Two 3 x 3 convolutions with ReLU, and dropout between them."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__(
            nn.Conv2d(taken, given, 3, padding=1),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(given, given, 3, padding=1),
            nn.ReLU(),
        )


class UNet(nn.Module):
    """`covid_keras.models.build_unet`: five contractions, four expansions, one sigmoid output."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        widths = [filters * 2**depth for depth in range(5)]
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip([1, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * one, one, 2, stride=2) for one in widths[-2::-1])
        self.join = nn.ModuleList(_Block(2 * one, one) for one in widths[-2::-1])
        self.head = nn.Conv2d(filters, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for block in self.down:
            x = block(x if not kept else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for up, join, skipped in zip(self.up, self.join, kept[-2::-1], strict=True):
            x = join(torch.cat([skipped, up(x)], 1))
        return torch.sigmoid(self.head(x))


def dice_cross_entropy(p: torch.Tensor, lung: torch.Tensor) -> torch.Tensor:
    """`covid_keras.training.losses.MaskedDiceCrossEntropy` where all pixels count."""
    p, axes = p.clamp(1e-6, 1 - 1e-6), (1, 2, 3)
    entropy = nn.functional.binary_cross_entropy(p, lung)
    dice = (2 * (lung * p).sum(axes) + 1) / (lung.sum(axes) + p.sum(axes) + 1)
    return (1 - dice).mean() + entropy


def torch_steps(training: Training) -> Callable[[int], object]:
    """Return the function that trains a number of steps with PyTorch."""
    torch.manual_seed(0)
    torch.set_num_threads(training.threads)
    torch.set_num_interop_threads(training.threads)
    rng = np.random.default_rng(0)
    segments = training.network == "unet"
    shape = (training.batch, training.side, training.side, 1 if segments else 3)
    images = torch.from_numpy(rng.random(shape, np.float32).transpose(0, 3, 1, 2).copy())
    if segments:
        model, loss = UNet(16), dice_cross_entropy
        targets = torch.ones(training.batch, 1, training.side, training.side)
    else:
        model, loss = torchvision.models.resnet50(weights=None), nn.functional.cross_entropy
        model.fc = nn.Sequential(nn.Linear(model.fc.in_features, 512), nn.ReLU(), nn.Linear(512, 2))
        targets = torch.arange(training.batch) % 2
    # The layout that is quicker on processors, and that of TensorFlow.
    model, images = (one.to(memory_format=torch.channels_last) for one in (model.train(), images))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss(model(images), targets).backward()
            optimizer.step()

    return train
