"""The padded bank against a dict of frames, as the released code keeps them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.memory.bank import (
    RECENT_MEMORIES,
    RECENT_POINTERS,
    Entry,
    Moment,
    closest,
    empty_bank,
    insert,
    rows,
    select,
    with_prompted,
)

OBJECTS, CELLS, CHANNELS, WIDTH = 2, 3, 4, 8
put, chosen = jax.jit(insert), jax.jit(select)


def entry(frame):
    """What a frame leaves: its number, so that a slot says what it holds."""
    value = np.arange(OBJECTS, dtype=np.float32) * 1000 + frame
    return Entry(
        np.broadcast_to(value[:, None, None], (OBJECTS, CELLS, CHANNELS)),
        np.broadcast_to(value[:, None], (OBJECTS, WIDTH)),
    )


def moment(frame, sign=1):
    return Moment(np.int32(frame), np.int32(sign), np.int32(15))


class Frames:
    """The released code's rules, for one object, in plain Python."""

    def __init__(self, prompted):
        self.prompted, self.tracked = prompted, set()

    def memories(self, frame, sign):
        recent = {(r, frame - sign * r) for r in range(1, RECENT_MEMORIES + 1)}
        return {(0, t) for t in self.prompted} | {(r, t) for r, t in recent if t in self.tracked - self.prompted}

    def pointers(self, frame, sign):
        past = {t for t in self.prompted if (frame - t) * sign >= 0}
        recent = {(r, frame - sign * r) for r in range(1, RECENT_POINTERS + 1)}
        return {(abs(frame - t), t) for t in past} | {(r, t) for r, t in recent if t in self.tracked - self.prompted}


def held(bank, row, frame, sign):
    """What slots of an object are selected: (frames ago, frame) of memories and of pointers."""
    at = chosen(bank, moment(frame, sign))
    base = 1000 * row
    memories = {
        (int(ago), round(float(slot[0, 0])) - base)
        for ago, slot, valid in zip(at.memory_ago[row], bank.memory[row], at.memory_valid[row], strict=True)
        if valid
    }
    pointers = {
        (int(ago), round(float(slot[0])) - base)
        for ago, slot, valid in zip(at.pointer_ago[row], bank.pointer[row], at.pointer_valid[row], strict=True)
        if valid
    }
    assert len(memories) == at.memory_valid[row].sum() and len(pointers) == at.pointer_valid[row].sum()
    return memories, pointers


def bank_with(prompted, slots=4):
    bank = empty_bank(OBJECTS, slots, CELLS, CHANNELS, WIDTH)
    bank = bank.replace(memory=bank.memory.astype(np.float32))  # Frame numbers are exact in it.
    frames = np.zeros((OBJECTS, slots), np.int32)
    valid = np.zeros((OBJECTS, slots), bool)
    frames[:, : len(prompted)], valid[:, : len(prompted)] = prompted, True
    value = frames[..., None] + 1000.0 * np.arange(OBJECTS)[:, None, None]
    kept = Entry(
        np.broadcast_to(value[..., None], (OBJECTS, slots, CELLS, CHANNELS)),
        np.broadcast_to(value, (OBJECTS, slots, WIDTH)),
    )
    return with_prompted(bank, kept, frames, valid)


@pytest.mark.parametrize("prompted", [[0], [3, 9], [0, 5, 12, 30]])
@pytest.mark.parametrize("order", [
    range(25), range(24, -1, -1), [*range(0, 8), *range(11, 25)],
], ids=["forward", "reverse", "frames left out"])  # fmt: skip
def test_selected_slots_are_the_reference_s(prompted, order):
    sign = -1 if order[0] > order[-1] else 1
    bank, frames = bank_with(prompted), Frames(set(prompted))
    keep = np.array([True, True])
    for t in order:
        for row in range(OBJECTS):
            memories, pointers = held(bank, row, t, sign)
            assert memories == frames.memories(t, sign)
            assert pointers == frames.pointers(t, sign)
        bank = put(bank, entry(t), moment(t, sign), keep)
        frames.tracked.add(t)


def test_frames_ahead_are_not_used_and_make_room_first():
    """Tracking that starts again at frame 9 after frame 12: 10 to 12 are of the past run."""
    bank = bank_with([])
    for t in [*range(13), 9]:
        bank = put(bank, entry(t), moment(t), np.ones(OBJECTS, bool))
    memories, pointers = held(bank, 0, 10, 1)
    assert memories == {(1, 9), (2, 8), (3, 7)}  # 6, the oldest, made room for 12.
    assert pointers == {(10 - t, t) for t in range(10)}
    bank = put(put(bank, entry(10), moment(10), np.ones(OBJECTS, bool)), entry(11), moment(11), np.ones(OBJECTS, bool))
    assert held(bank, 0, 12, 1)[0] == {(12 - t, t) for t in range(7, 12)}


def test_insert_keeps_to_the_objects_asked_for():
    bank = put(bank_with([]), entry(4), moment(4), np.array([False, True]))
    assert held(bank, 0, 5, 1) == (set(), set())
    assert held(bank, 1, 5, 1) == ({(1, 4)}, {(1, 4)})


def test_reverse_after_forward_uses_what_lies_next():
    bank = bank_with([2])
    for t in range(3, 8):
        bank = put(bank, entry(t), moment(t), np.ones(OBJECTS, bool))
    memories, _ = held(bank, 0, 1, -1)
    assert memories == {(0, 2)} | {(t - 1, t) for t in range(3, 8)}


def test_rows_reorder_and_add_empty_objects():
    bank = put(bank_with([0]), entry(1), moment(1), np.ones(OBJECTS, bool))
    other = rows(bank, np.array([1, 0, 0]), np.array([True, True, False]))
    np.testing.assert_array_equal(other.memory[0], bank.memory[1])
    assert not other.memory_valid[2].any() and not other.pointer_valid[2].any()
    assert other.memory_valid[:2].sum() == bank.memory_valid.sum()


def test_the_number_of_prompted_slots_may_change():
    bank = put(bank_with([0], slots=1), entry(1), moment(1), np.ones(OBJECTS, bool))
    memory = jnp.zeros((OBJECTS, 2, CELLS, CHANNELS)) + jnp.array([7.0, 8.0])[:, None, None]
    other = with_prompted(
        bank, Entry(memory, jnp.zeros((OBJECTS, 2, WIDTH)) + jnp.array([7.0, 8.0])[:, None]),
        np.broadcast_to([7, 8], (OBJECTS, 2)), np.ones((OBJECTS, 2), bool),
    )  # fmt: skip
    assert other.prompted == 2
    assert held(other, 0, 2, 1)[0] == {(0, 7), (0, 8), (1, 1)}


def naive_closest(frames, frame, count):
    """`_select_closest_cond_frames` of transformers, on numbers."""
    if len(frames) <= count:
        return set(frames)
    chosen = {max(t for t in frames if t < frame)} if any(t < frame for t in frames) else set()
    chosen |= {min(t for t in frames if t >= frame)} if any(t >= frame for t in frames) else set()
    chosen |= set(sorted((t for t in frames if t not in chosen), key=lambda t: abs(t - frame))[: count - len(chosen)])
    return chosen


def test_closest_frames_are_the_reference_s():
    rng = np.random.default_rng(0)
    for _ in range(200):
        frames = list(map(int, rng.permutation(40)[: rng.integers(1, 9)]))
        frame, count = int(rng.integers(0, 40)), int(rng.choice([2, 4]))
        ours = closest(frames, frame, count)
        assert set(ours) == naive_closest(frames, frame, count)
        assert ours == [t for t in frames if t in ours]
    assert closest([0, 10], 4, 1) == [0]
