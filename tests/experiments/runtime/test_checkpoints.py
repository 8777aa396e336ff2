"""Checkpoints: what is saved comes back, damage is reported and skipped, another model is refused."""

import json
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.training.train_step import TrainState
from experiments.runtime.checkpoints.checksums import checksums
from experiments.runtime.checkpoints.manager import Checkpoints
from tests.messages import one_line

# Where reading or writing fails, TensorStore's threads still report to an event loop that Orbax has closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RECORD = {"model": {"mask_decoder": {"queries": 20}}, "text_space": "words", "vocabularies": {"set": {}}}
CLASSIFIERS = {"set": np.ones((2, 3), np.float32)}


def state(step):
    return TrainState(jnp.int32(step), {"w": jnp.arange(6.0).reshape(2, 3) + step}, {}, jnp.zeros(2))


def save(checkpoints, step):
    checkpoints.save(step, state(step), {"step": step, "history": [1, 2]}, RECORD, CLASSIFIERS)
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


def test_without_text_embeddings(tmp_path):
    """Of phrases alone, or of a text encoder that is trained; Orbax saves no empty item."""
    of_phrases, trained = RECORD | {"vocabularies": {}}, RECORD | {"model": {"text": {"name": "clip"}}}
    checkpoints = Checkpoints(tmp_path)
    for step, record in enumerate((of_phrases, trained), 1):
        checkpoints.save(step, state(step), {"step": step}, record, {})
        checkpoints.wait()
        restored, position = checkpoints.restore(state(0))
        assert not checkpoints.failed and int(restored.step) == position["step"] == step
    checkpoints.close()


def test_damaged_newest_is_reported_and_the_one_before_is_used(tmp_path, capsys):
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


def parts(folder):
    """Of one checkpoint, the files that it cannot do without, by what they are."""
    numbers = max((folder / "state" / "ocdbt.process_0" / "d").iterdir(), key=lambda file: file.stat().st_size)
    return {
        "numbers": numbers,
        "manifest": folder / "state" / "manifest.ocdbt",
        "metadata": folder / "state" / "_METADATA",
        "position": folder / "position" / "position.json",
        "model": folder / "model" / "model.json",
        "checksums": folder / "checksums" / "checksums.json",
        "classifiers": folder / "classifiers" / "manifest.ocdbt",
    }


def flip(file):
    """Changes bits within the file; JSON stays JSON, with other digits."""
    content = bytearray(file.read_bytes())
    if file.suffix == ".json":
        file.write_bytes(bytes(content).translate(bytes.maketrans(b"1234", b"4321")))
    else:
        content[len(content) // 3] ^= 0x5A
        file.write_bytes(bytes(content))


HARMS = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "gone": lambda file: file.unlink(),
    "flipped": flip,
}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A workdir with checkpoints of steps 1 and 2, of numbers that do not compress."""
    workdir = tmp_path_factory.mktemp("two")
    checkpoints = Checkpoints(workdir)
    for step in (1, 2):
        checkpoints.save(step, wide(step), {"step": step}, RECORD, CLASSIFIERS)
    checkpoints.close()
    return workdir


def wide(step):
    numbers = np.random.default_rng(step).normal(size=(100, 50)).astype(np.float32)
    return TrainState(jnp.int32(step), {"w": jnp.asarray(numbers)}, {}, jnp.zeros(2))


# Flipped, the position and the model would be other ones, if they could be read.
CASES = [(part, harm) for part in ("numbers", "manifest", "metadata", "checksums", "classifiers") for harm in HARMS]
CASES += [(part, harm) for part in ("position", "model") for harm in ("cut", "gone")]


@pytest.mark.parametrize("part, harm", [*CASES, ("state", "gone")])
def test_damage_of_any_part_is_noticed(two, tmp_path, capsys, part, harm):
    workdir = tmp_path / "run"
    shutil.copytree(two, workdir)
    folder = workdir / "checkpoints" / "2"
    if part == "state":
        shutil.rmtree(folder / "state")
    else:
        HARMS[harm](parts(folder)[part])
    checkpoints = Checkpoints(workdir)
    restored, position = checkpoints.restore(wide(0))
    assert int(restored.step) == 1 and position == {"step": 1}
    assert np.array_equal(restored.params["w"], wide(1).params["w"])
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and "checkpoint of step 2 cannot be read" in line and "using that of step 1" in line
    assert (workdir / "damaged_checkpoint_2").exists() and checkpoints.latest == 1
    checkpoints.close()


def test_when_all_are_damaged_nothing_is_touched(two, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(two, workdir)
    flip(parts(workdir / "checkpoints" / "2")["numbers"])
    parts(workdir / "checkpoints" / "1")["position"].write_bytes(b"{")
    before = everything(workdir)
    checkpoints = Checkpoints(workdir)
    one_line(lambda: checkpoints.restore(wide(0)), str(workdir), "no checkpoint can be read", "step 2: ", "step 1: ")
    checkpoints.close()
    assert everything(workdir) == before and not capsys.readouterr().out


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("keep", [1, 2])
def test_without_room_the_ones_before_stay_and_the_next_is_tried(tmp_path, capsys, keep):
    checkpoints = Checkpoints(tmp_path, keep)
    checkpoints.save(1, wide(1), {"step": 1}, RECORD, CLASSIFIERS)
    checkpoints.wait()
    before = everything(tmp_path / "checkpoints" / "1")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, most))  # Of each file; needs no privileges, unlike a small disk.
    try:
        for step in (2, 3):
            checkpoints.save(step, wide(step), {"step": step}, RECORD, CLASSIFIERS)
            checkpoints.wait()
            line = capsys.readouterr().out
            assert line.count("\n") == 1 and f"step {step} could not be saved in {tmp_path}" in line
            assert "File too large" in line and "GB free" in line and "the newest one is that of step 1" in line
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert checkpoints.failed and everything(tmp_path / "checkpoints") == {
        "1" / path: content for path, content in before.items()
    }
    for step in (4, 5):
        checkpoints.save(step, wide(step), {"step": step}, RECORD, CLASSIFIERS)
        checkpoints.wait()
    assert not checkpoints.failed
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["4", "5"][-keep:]
    checkpoints.close()


def test_checksums_tell_any_change_and_are_equal_on_any_device():
    tree = {"f": jnp.linspace(-1, 1, 12).reshape(3, 4), "h": jnp.ones(3, jnp.bfloat16), "b": jnp.array([True, False])}
    sums = checksums(tree)
    weights = 2 * np.arange(12, dtype=np.uint64) + 1
    by_hand = (np.asarray(tree["f"]).reshape(-1).view(np.uint32).astype(np.uint64) * weights).sum() % 2**32
    assert sums["['f']"] == by_hand and sums["['h']"] == (0x3F80 * (1 + 3 + 5)) % 2**32 and sums["['b']"] == 1
    swapped = {**tree, "f": tree["f"].at[0, 0].set(tree["f"][0, 1]).at[0, 1].set(tree["f"][0, 0])}
    assert checksums(swapped)["['f']"] != sums["['f']"]


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
