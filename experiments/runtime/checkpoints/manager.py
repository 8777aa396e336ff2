"""Checkpoints: orbax, asynchronous and atomic; state, position of the mixture, and what the model is."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from dataseg_jax.errors import InputError, SaveFailed, first_line
from dataseg_jax.io.checkpoint import has_classifiers
from dataseg_jax.io.untrusted import json_object
from dataseg_jax.networks.spec import ModelSpec, mismatches, with_newer_fields
from experiments.runtime import hosts
from experiments.runtime.checkpoints.checksums import checksums

FOLDER = "checkpoints"
EXECUTION = ("remat", "remat_keeps", "scan", "dtype")  # Fields that change how a model is computed, not what it is.


def model_record(settings, datasets) -> dict:
    """`model.json`: enough to build the model again and to use it with the vocabularies it was trained on."""
    return {
        "model": _plain(settings.model),
        "image_size": settings.scored_image_size,
        "text_space": settings.text_space,
        "thresholds": {"score": settings.eval.score_threshold, "overlap": settings.eval.overlap_threshold},
        "vocabularies": {
            d.name: {**dataclasses.asdict(d.vocabulary), "task": d.task.kind} for d in datasets if d.book is None
        },
    }


def _plain(spec: ModelSpec) -> dict:
    return json.loads(json.dumps(dataclasses.asdict(spec)))


class Checkpoints:
    """The checkpoints of one workdir, which only one run may write to: see `experiments.runtime.lock`.

    A save that fails is reported and leaves the checkpoints before it as they are; the next save is tried as usual.

    Attributes:
      folder: holds one folder per step.
      failed: why the last save failed; "" if it did not.
    """

    def __init__(self, workdir: str, keep: int = 2):
        self.folder = Path(workdir).absolute() / FOLDER
        self.failed = ""
        self._saving: int | None = None
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                enable_async_checkpointing=True,
                cleanup_tmp_directories=True,  # Of saves that a kill cut short.
            ),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "position": ocp.JsonCheckpointHandler("position.json"),
                "model": ocp.JsonCheckpointHandler("model.json"),
                "classifiers": ocp.StandardCheckpointHandler(),
                "checksums": ocp.JsonCheckpointHandler("checksums.json"),
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
        for step in sorted(self._manager.all_steps(), reverse=True):
            path = self.folder / str(step) / "model" / "model.json"
            try:
                saved = json_object(path, "record of a model")
                saved["model"] = json.loads(json.dumps(with_newer_fields(saved["model"], record["model"])))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # Damage is reported by `restore`.
            differing = []
            for key in ("model", "text_space"):
                _differences(saved.get(key), record[key], key, differing)
            if differing:
                raise InputError(
                    f"{self.folder}: the checkpoint of step {step} belongs to another model "
                    f"({'; '.join(differing)}); choose another --workdir, or the config it was trained with"
                )
            return

    def restore(self, state):
        """(state, position) of the newest checkpoint that can be read whole; `state` gives shapes and shardings.

        Newer ones that are damaged are moved out of the way, which is reported. None where there is no checkpoint.

        Raises:
          InputError: its parameters are not those of `state`, with what differs; or none can be read (none is moved).
        """
        damaged = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            self._require_same_state(step, state)
            restored, line = None, ""
            try:
                restored = self._read(step, jax.tree.map(ocp.utils.to_shape_dtype_struct, state))
            except Exception as error:  # noqa: BLE001  any kind of damage: use the one before
                line = first_line(error)
            # What one host cannot read, none uses: they would go on from different steps.
            lines = hosts.agree("a checkpoint", line)
            if lines:
                damaged[step] = next(iter(lines.values()))
                continue
            self._set_aside(damaged, step)
            return restored
        if damaged:
            raise InputError(
                f"{self.folder}: no checkpoint can be read: "
                + "; ".join(f"step {step}: {reason}" for step, reason in damaged.items())
                + "; all are left as they are: repair one, or start anew in another --workdir"
            )
        return None

    def _read(self, step: int, abstract) -> tuple:
        """(state, position); every part is read, so that damage of any is noticed, and the numbers are checked."""
        items = {
            "state": ocp.args.StandardRestore(abstract),
            "position": ocp.args.JsonRestore(),
            "model": ocp.args.JsonRestore(),
            "classifiers": ocp.args.StandardRestore(),
            "checksums": ocp.args.JsonRestore(),
        }
        if not (self.folder / str(step) / "checksums").exists():
            del items["checksums"]  # It was saved by a version without them.
        if not has_classifiers(json_object(self.folder / str(step) / "model" / "model.json", "record of a model")):
            del items["classifiers"]
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        if "checksums" in items:
            classifiers = restored.classifiers if "classifiers" in items else {}
            now = checksums({"state": restored.state, "classifiers": classifiers})
            changed = [path for path, value in now.items() if restored.checksums.get(path) != value]
            if changed:
                raise ValueError(f"the numbers of {listed(changed, 3)} are not those that were saved")
        return restored.state, restored.position

    def _set_aside(self, damaged: dict[int, str], used: int) -> None:
        """Moves damaged checkpoints away, so that their steps can be saved again. All hosts have to call it."""
        if not damaged:
            return
        for step, reason in damaged.items() if hosts.first() else ():
            names = (f"damaged_checkpoint_{step}{suffix}" for suffix in ("", *(f"_{n}" for n in range(2, 1000))))
            aside = next(path for path in (self.folder.parent / name for name in names) if not path.exists())
            (self.folder / str(step)).rename(aside)
            print(
                f"checkpoint of step {step} cannot be read ({reason}); moved to {aside}, using that of step {used}",
                flush=True,
            )
        hosts.barrier("a damaged checkpoint")
        self._manager.reload()

    def _require_same_state(self, step: int, state) -> None:
        """Equal configs may differ here: a ViTDet's relative positions fit the size of the images."""
        try:
            saved = self._manager.item_metadata(step)["state"]
            problems = listed(mismatches(saved["params"], state.params))
            moments = _places(saved["opt_state"]) == _places(state.opt_state)
        except Exception:  # noqa: BLE001  damage, which the attempt to read it will name
            return
        if problems:
            raise InputError(
                f"{self.folder}: the parameters of step {step} do not fit this config: {problems}; choose another "
                "--workdir, or the config and image_size it was trained with"
            )
        if not moments:
            raise InputError(
                f"{self.folder}: the optimiser of step {step} kept other arrays than that of this config; a run keeps "
                "an average (config.optim.average above 0) from its first step or never: choose another --workdir"
            )

    def save(self, step: int, state, position: dict, record: dict, classifiers: dict) -> None:
        """Starts to save; returns when the arrays are copied. `classifiers`: dataset -> float32[K, E]; {}: none."""
        self.wait()
        sums = checksums({"state": state, "classifiers": classifiers})
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    position=ocp.args.JsonSave(position),
                    model=ocp.args.JsonSave(record),
                    checksums=ocp.args.JsonSave(sums),
                    **({"classifiers": ocp.args.StandardSave(classifiers)} if classifiers else {}),
                ),
            )
            self._saving = step
        except OSError as error:
            self._report_failure(step, error)

    def poll(self) -> None:
        """Reports a save that has failed meanwhile; does not wait for one that is under way."""
        if self._saving is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits for the save that is under way, and reports its failure."""
        step, self._saving = self._saving, None
        if step is None:
            return
        try:
            self._manager.wait_until_finished()
            self.failed = ""
        except Exception as error:  # noqa: BLE001  whatever the writing thread died of
            self._report_failure(step, error)

    def _report_failure(self, step: int, error: Exception) -> None:
        if jax.process_count() > 1:  # The other hosts may have saved: no next save could be agreed on.
            raise SaveFailed(f"the checkpoint of step {step} could not be saved in {self.folder} ({_reason(error)})")
        for partial in self.folder.glob(f"{step}.*"):
            shutil.rmtree(partial, ignore_errors=True)  # It may take the disk space that small files still need.
        self._manager.reload()  # The checkpoint that it was going to delete is still there.
        free = shutil.disk_usage(self.folder).free / 1e9
        self.failed = (
            f"the checkpoint of step {step} could not be saved in {self.folder} ({_reason(error)}; {free:.2f} GB free)"
        )
        print(f"{self.failed}; the newest one is that of step {self.latest}", flush=True)

    def close(self) -> None:
        """Waits for the save that is under way, and reports its failure."""
        self.wait()
        self._manager.close()


def _reason(error: Exception) -> str:
    """What the system said, which Orbax quotes at the end of a long line."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code:
        return os.strerror(int(code[1]))
    return getattr(error, "strerror", None) or first_line(error)


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


def _places(tree) -> set[str]:
    """Where the leaves of a tree are; Orbax stores named fields and numbered ones as the keys of a dict."""
    fields = ("key", "idx", "name")
    return {
        "/".join(str(next(getattr(key, f) for f in fields if hasattr(key, f))) for key in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    }
