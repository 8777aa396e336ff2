"""The text spaces of OpenAI's CLIP and the sizes of their encoders."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ClipSpace:
    """A space and its encoder: sizes of the text tower, patch size of the image tower, name on the hub."""

    width: int
    layers: int
    projection: int
    patch: int
    hub: str

    @property
    def heads(self) -> int:
        """64 channels each in every CLIP of OpenAI's."""
        return self.width // 64


CLIP_SPACES = {
    "clip-vit-large-patch14": ClipSpace(768, 12, 768, 14, "openai/clip-vit-large-patch14"),  # The paper's.
    "clip-vit-base-patch16": ClipSpace(512, 12, 512, 16, "openai/clip-vit-base-patch16"),
    "clip-vit-base-patch32": ClipSpace(512, 12, 512, 32, "openai/clip-vit-base-patch32"),
}
