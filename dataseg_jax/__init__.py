"""dataseg_jax: universal multi-dataset, multi-task segmentation (DaTaSeg) in JAX.

    from dataseg_jax import Predictor

    predictor = Predictor.from_checkpoint("runs/quickstart")
    result = predictor(image, "cat, dog, sky:stuff", task="panoptic")

Importing this package does not import JAX: the names below are resolved on first use, so that the workers of an input
pipeline, and tools that only need a vocabulary, start fast and never hold an accelerator. Everything else is imported
from its module: `dataseg_jax.losses`, `dataseg_jax.postprocess`, `dataseg_jax.metrics`, ...
"""

__version__ = "0.1.0"

# Public name -> the module that holds it.
_EXPORTS = {
    "ModelSpec": "dataseg_jax.networks.spec",
    "Predictor": "dataseg_jax.inference.predictor",
    "PromptPredictor": "dataseg_jax.inference.promptable",
    "Task": "dataseg_jax.objective.tasks",
    "VideoPredictor": "dataseg_jax.inference.video",
    "build": "dataseg_jax.networks.spec",
    "generate_masks": "dataseg_jax.inference.promptable.automatic",
    "make_task_table": "dataseg_jax.objective.tasks",
    "match": "dataseg_jax.objective.matching",
    "merge_proposals": "dataseg_jax.objective.merge",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'dataseg_jax' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
