"""An image with its features: computed once, asked many times."""

import dataclasses

import numpy as np

from dataseg_jax.networks.types import Features


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An image and its features, to predict in any number of vocabularies and tasks without the backbone.

    Attributes:
      image: uint8[H, W, 3], RGB.
      size: height and width of the image inside the model's square.
      features: of the network, a batch of one, on the device.
    """

    image: np.ndarray
    size: tuple[int, int]
    features: Features
