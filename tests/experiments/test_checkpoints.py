"""Checkpoints: what is saved comes back, damage is told and passed over, another model is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.train_step import TrainState
from experiments.checkpoints import Checkpoints

RECORD = {"model": {"mask_decoder": {"queries": 20}}, "text_space": "words"}


def state(step):
    return TrainState(jnp.int32(step), {"w": jnp.arange(6.0).reshape(2, 3) + step}, {}, jnp.zeros(2))


def save(checkpoints, step):
    checkpoints.save(step, state(step), {"step": step, "history": [1, 2]}, RECORD, {"set": np.ones((2, 3), np.float32)})
    checkpoints._manager.wait_until_finished()


def test_newest_comes_back(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest is None and checkpoints.restore(state(0)) is None
    for step in (1, 2, 3):
        save(checkpoints, step)
    checkpoints.close()
    again = Checkpoints(tmp_path)
    restored, position = again.restore(state(0))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), restored, state(3)))
    assert position == {"step": 3, "history": [1, 2]}
    assert sorted(p.name for p in again.folder.iterdir()) == ["2", "3"]  # keep=2
    assert json.loads((again.folder / "3" / "model" / "model.json").read_text()) == RECORD
    again.close()


def test_damaged_newest_is_told_and_the_one_before_is_used(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    save(checkpoints, 2)
    checkpoints.close()
    for path in (checkpoints.folder / "2" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    again = Checkpoints(tmp_path)
    restored, _ = again.restore(state(0))
    assert int(restored.step) == 1
    assert "checkpoint of step 2 cannot be read" in capsys.readouterr().out
    save(again, 2)  # The step is saved again, not mistaken for one that is there.
    assert int(again.restore(state(0))[0].step) == 2
    assert (tmp_path / "damaged_checkpoint_2").exists()
    again.close()


def test_parameters_of_other_shapes_are_refused_and_stay(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    other = state(0).replace(params={"w": jnp.zeros((2, 4)), "v": jnp.zeros(1)})
    with pytest.raises(InputError, match=r"step 1 do not fit this config: v is missing; w is \(2, 3\), not \(2, 4\)"):
        checkpoints.restore(other)
    assert checkpoints.latest == 1 and not capsys.readouterr().out
    assert int(checkpoints.restore(state(0))[0].step) == 1
    checkpoints.close()


def test_another_model_is_refused_with_what_differs(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    checkpoints.require_same_model(RECORD)
    other = {"model": {"mask_decoder": {"queries": 50}}, "text_space": "other"}
    with pytest.raises(InputError) as error:
        checkpoints.require_same_model(other)
    assert "model.mask_decoder.queries is 20 there and 50 here" in str(error.value)
    assert "text_space is words there and other here" in str(error.value)
    checkpoints.close()


def test_how_a_model_is_computed_and_fields_newer_than_the_checkpoint_may_differ(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    model = {"mask_decoder": {"queries": 20, "remat": True, "scan": True}, "dataset_specific": []}
    checkpoints.require_same_model(RECORD | {"model": model})
    with pytest.raises(InputError, match="dataset_specific is .. there and .'coco'. here"):
        checkpoints.require_same_model(RECORD | {"model": model | {"dataset_specific": ["coco"]}})
    checkpoints.close()
