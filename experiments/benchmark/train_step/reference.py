"""The reference of `--part=step`: Hugging Face's MaskFormer with a ResNet-50, in torch, random weights.

It does less: 6 decoder layers without masked attention against 9, no transformer encoder before its pyramid, a class
head instead of text. Its losses see the masks at the full size of the image.
"""

import os
from collections.abc import Callable

MISSING = "torch or transformers is not installed (the extra parity), so the reference was not run"
NAME = "Hugging Face MaskFormer"


def steps(side: int, batch: int, targets: int, backbone: dict | None = None) -> dict[str, Callable[[], object]] | None:
    """{"forward": ..., "train": ...}, each one call on random images; None where torch or transformers is missing.

    Args:
      targets: rectangles per image.
      backbone: fields of `ResNetConfig`, its defaults are a ResNet-50.
    """
    try:
        import torch
        from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig
    except ImportError:
        return None
    torch.set_num_threads(os.cpu_count() or 1)  # As many as XLA takes.
    torch.manual_seed(0)
    resnet = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"], **(backbone or {}))
    config = MaskFormerConfig(backbone_config=resnet, use_auxiliary_loss=True, num_labels=133)
    network = MaskFormerForInstanceSegmentation(config).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.05)
    images = torch.randn(batch, 3, side, side)
    masks = torch.zeros(batch, targets, side, side)
    corners = torch.randint(0, side // 2, (batch, targets, 2))
    for b in range(batch):
        for g, (y, x) in enumerate(corners[b].tolist()):
            masks[b, g, y : y + side // 4, x : x + side // 4] = 1
    labels = torch.randint(0, 133, (batch, targets))

    def forward():
        with torch.no_grad():
            return network(pixel_values=images, output_hidden_states=True)

    def train():
        optimiser.zero_grad()
        out = network(
            pixel_values=images,
            mask_labels=list(masks),
            class_labels=list(labels),
            output_hidden_states=True,  # The losses of all decoder layers need them.
        )
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.01)
        optimiser.step()
        return out.loss.item()

    return {"forward": forward, "train": train}
