"""MQ-Former with a ViTDet-L: 100 learnable and 300 conditional queries with boxes, on up to 17 datasets.

    python -m experiments.main --config=configs/mqformer_vitdet_l.py --workdir=runs/mqformer_vitdet_l \\
        --config.datasets.coco.root=COCO --config.datasets.ade.root=ADE --config.datasets.objects365.root=OBJECTS365

Arguments are described in `configs/mqformer.py`.
"""

from configs import mqformer, vitdet_l


def get_config(arguments: str = "mixed"):
    """`arguments`: see `configs/mqformer.py`."""
    return mqformer.get_config(vitdet_l.get_config, arguments)
