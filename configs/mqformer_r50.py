"""MQ-Former with a ResNet-50: 100 learnable and 300 conditional queries with boxes, on up to 17 datasets.

    python -m experiments.main --config=configs/mqformer_r50.py --workdir=runs/mqformer_r50 \\
        --config.datasets.coco.root=COCO --config.datasets.ade.root=ADE --config.datasets.objects365.root=OBJECTS365

Arguments are described in `configs/mqformer.py`.
"""

from configs import mqformer, r50


def get_config(arguments: str = "mixed"):
    """`arguments`: see `configs/mqformer.py`."""
    return mqformer.get_config(r50.get_config, arguments)
