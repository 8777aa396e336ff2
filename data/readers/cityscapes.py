"""Cityscapes panoptic as its own script createPanopticImgs.py writes it."""

from data.readers.coco.panoptic import CocoPanoptic
from data.readers.table import Image
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import below
from dataseg_jax.text.vocabulary import Vocabulary


class CityscapesPanoptic(CocoPanoptic):
    """COCO panoptic files, but for the place of the images: `images`/<city>/<image id>_leftImg8bit.png.

    The file names in the JSON are of no use, they name no city. Category ids are label ids (vocabulary
    `cityscapes_label_ids`), or with the script's --use-train-id train ids (vocabulary `cityscapes`). Regions of things
    that are not separated are crowds, and so void.
    """

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "leftImg8bit/val",
        masks: str = "gtFine/cityscapes_panoptic_val",
        annotations: str = "gtFine/cityscapes_panoptic_val.json",
        limit: int = 0,
    ):
        super().__init__(root, vocabulary, name=name, images=images, masks=masks, annotations=annotations, limit=limit)

    def image_path(self, folder: str, image: Image) -> str:
        if not self._keys:
            raise InputError(
                f"{self.annotations}: image id {image.image_id} is a number; Cityscapes' own are strings such as "
                "frankfurt_000000_000294, which state where the images lie"
            )
        key = self._keys[image.image_id]
        name = f"{key.partition('_')[0]}/{key}_leftImg8bit.png"
        return below(folder, name, f"{self.annotations}: image {key}")
