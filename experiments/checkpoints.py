"""Checkpoints: orbax, asynchronous and atomic; state, position of the mixture, and what the model is."""

import dataclasses
import json
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from dataseg_jax.errors import InputError, first_line
from dataseg_jax.model import ModelSpec, mismatches
from experiments import hosts

FOLDER = "checkpoints"
EXECUTION = ("remat", "scan", "dtype")  # Fields that change how a model is computed, not what it is.


def model_record(settings, datasets) -> dict:
    """`model.json`: enough to build the model again and to use it with the vocabularies it was trained on."""
    return {
        "model": _plain(settings.model),
        "image_size": settings.image_size,
        "text_space": settings.text_space,
        "thresholds": {"score": settings.eval.score_threshold, "overlap": settings.eval.overlap_threshold},
        "vocabularies": {d.name: {**dataclasses.asdict(d.vocabulary), "task": d.task.kind} for d in datasets},
    }


def _plain(spec: ModelSpec) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(spec)))


class Checkpoints:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: str, keep: int = 2):
        self.folder = Path(workdir).absolute() / FOLDER
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "position": ocp.JsonCheckpointHandler("position.json"),
                "model": ocp.JsonCheckpointHandler("model.json"),
                "classifiers": ocp.StandardCheckpointHandler(),
            },
        )

    @property
    def latest(self) -> int | None:
        return self._manager.latest_step()

    def require_same_model(self, record: dict) -> None:
        """Refuses a workdir whose newest checkpoint holds another model, before anything is loaded or written.

        Raises:
          InputError: with every field that differs.
        """
        if self.latest is None:
            return
        path = self.folder / str(self.latest) / "model" / "model.json"
        try:
            saved = json.loads(path.read_text())
            defaults = _plain(ModelSpec({}, {}, {}))  # Of fields that are newer than the checkpoint.
            saved["model"] = {key: defaults[key] for key in defaults if key in record["model"]} | saved["model"]
        except (OSError, ValueError, KeyError):
            return  # A damaged newest checkpoint is the business of `restore`.
        differing = []
        for key in ("model", "text_space"):
            _differences(saved.get(key), record[key], key, differing)
        if differing:
            raise InputError(
                f"{self.folder}: the checkpoint of step {self.latest} belongs to another model "
                f"({'; '.join(differing)}); choose another --workdir, or the config it was trained with"
            )

    def restore(self, state):
        """(state, position) of the newest checkpoint that can be read, or None; `state` gives shapes and shardings.

        Raises:
          InputError: its parameters are not those of `state`, with what differs; it stays where it is.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        for step in sorted(self._manager.all_steps(), reverse=True):
            self._require_same_parameters(step, state.params)
            restored, line = None, ""
            try:
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore()),
                )
            except Exception as error:  # noqa: BLE001  any kind of damage: say so, use the one before
                line = first_line(error)
            # What one host cannot read, none uses: they would go on from different steps.
            lines = hosts.agree("a checkpoint", line)
            if not lines:
                return restored.state, restored.position
            line = next(iter(lines.values()))
            aside = self.folder.parent / f"damaged_checkpoint_{step}"
            print(f"checkpoint of step {step} cannot be read ({line}); moved to {aside}, trying the one before")
            if hosts.first():
                # In its place, it would keep the step from being saved again.
                (self.folder / str(step)).rename(aside)
            hosts.barrier("a damaged checkpoint")
            self._manager.reload()
        return None

    def _require_same_parameters(self, step: int, params) -> None:
        """Equal configs may differ here: a ViTDet's relative positions fit the size of the pictures."""
        try:
            saved = self._manager.item_metadata(step)["state"]["params"]
        except Exception:  # noqa: BLE001  damage, which the attempt to read it will name
            return
        problems = listed(mismatches(saved, params))
        if problems:
            raise InputError(
                f"{self.folder}: the parameters of step {step} do not fit this config: {problems}; choose another "
                "--workdir, or the config and image_size it was trained with"
            )

    def save(self, step: int, state, position: dict, record: dict, classifiers: dict) -> None:
        """Starts to save; returns when the arrays are copied. `classifiers`: a dataset's name -> float32[K, E]."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                position=ocp.args.JsonSave(position),
                model=ocp.args.JsonSave(record),
                classifiers=ocp.args.StandardSave(classifiers),
            ),
        )

    def close(self) -> None:
        """Waits for the save that is under way, and reports its failure if it failed."""
        self._manager.wait_until_finished()
        self._manager.close()


def listed(problems: list[str], most: int = 8) -> str:
    """The first few, and how many more there are."""
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problems[:most]) + more


def _differences(saved, wanted, where, out):
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in sorted({*saved, *wanted} - {*EXECUTION}):
            _differences(saved.get(key), wanted.get(key), f"{where}.{key}", out)
    elif saved != wanted:
        out.append(f"{where} is {saved} there and {wanted} here")
