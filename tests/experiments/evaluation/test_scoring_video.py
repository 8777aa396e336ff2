"""--metric=jf on folders of PNGs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataseg_jax.metrics import VideoJF
from experiments.evaluation.scoring.video import score_video
from tests.messages import one_line

ROOT = Path(__file__).parents[3]


def write(folder, frames, indexed=False, scale=1):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        image = Image.fromarray((frame * scale).astype(np.uint8), "P" if indexed else "L")
        if indexed:
            image.putpalette(list(range(256)) * 3)
        image.save(folder / f"{number:05d}.png")


def frames(seed, objects=2):
    rng = np.random.default_rng(seed)
    maps = np.zeros((4, 24, 40), np.int32)
    for number in range(1, objects + 1):
        x = int(rng.integers(2, 26))
        maps[:, 4 + 3 * number : 12 + 3 * number, x : x + 9] = number
    return maps


@pytest.fixture
def sides(tmp_path):
    truth = {"camel": frames(0), "judo": frames(1)}
    guess = {name: np.roll(maps, 1, 2) for name, maps in truth.items()}
    for name in truth:
        write(tmp_path / "truth" / name, truth[name], indexed=True)
        write(tmp_path / "guess" / name, guess[name])
    state = VideoJF()
    for name in truth:
        state.update(truth[name], guess[name])
    return tmp_path / "truth", tmp_path / "guess", state.compute()


@pytest.mark.parametrize("workers", [1, 2])
def test_indexed_and_gray_folders(sides, workers):
    truth, guess, expected = sides
    assert score_video(str(truth), str(guess), workers) == expected | {"sequences": 2, "objects": 4}


def test_the_program_prints_one_object(sides):
    truth, guess, expected = sides
    command = [sys.executable, "-m", "experiments.evaluate", "--metric=jf", f"--ground_truth={truth}"]
    done = subprocess.run([*command, f"--predictions={guess}"], cwd=ROOT, capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["jf"] == pytest.approx(expected["jf"]) and printed["objects"] == 4


def test_255_alone_is_an_object_and_one_folder_is_a_sequence(tmp_path):
    maps = frames(3, objects=1)
    write(tmp_path / "truth", maps, scale=255)
    write(tmp_path / "guess", np.roll(maps, 2, 1))
    state = VideoJF()
    state.update(maps, np.roll(maps, 2, 1))
    assert score_video(str(tmp_path / "truth"), str(tmp_path / "guess"))["jf"] == state.compute()["jf"]


def test_what_is_missing_is_named(sides):
    truth, guess, _ = sides
    (guess / "judo" / "00002.png").unlink()
    one_line(lambda: score_video(str(truth), str(guess)), "judo", "00002.png", "1 of 4 frames")
    for file in (guess / "judo").iterdir():
        file.unlink()
    (guess / "judo").rmdir()
    one_line(lambda: score_video(str(truth), str(guess)), "no folder judo; 1 of the 2 sequences")
    (truth / "camel" / "00001.png").write_bytes(b"no image")
    one_line(lambda: score_video(str(truth / "camel"), str(guess / "camel")), "00001.png")


def late(seed):
    """Object 2 appears in the third of five frames."""
    maps = np.concatenate([frames(seed)] * 2)[:5]
    maps[:2][maps[:2] == 2] = 0
    return maps


@pytest.fixture
def of_sa_v(tmp_path):
    """A video with a folder for each object, whose masks overlap, and one with maps of ids."""
    state = VideoJF()
    for video in ("sav_1", "sav_2"):
        truth = late(int(video[-1]))
        guess = np.roll(truth, 1, 2)
        if video == "sav_2":
            write(tmp_path / "truth" / video, truth)
            write(tmp_path / "guess" / video, guess)
            state.update_sa_v(truth, guess)
            continue
        for number in (1, 2):
            masks = [(maps >= number).astype(int) for maps in (truth, guess)]
            for side, mask in zip(("truth", "guess"), masks, strict=True):
                write(tmp_path / side / video / f"{number - 1:03d}", mask, scale=255 if side == "truth" else 1)
            state.update_sa_v(*masks)
    # The answer may have frames between the annotated ones.
    write(tmp_path / "between", truth[:1])
    (tmp_path / "between" / "00000.png").rename(tmp_path / "guess" / "sav_2" / "00000_5.png")
    return tmp_path / "truth", tmp_path / "guess", state.compute()


def test_the_protocol_of_sa_v(of_sa_v):
    truth, guess, expected = of_sa_v
    found = score_video(str(truth), str(guess), protocol="sa_v")
    assert found == expected | {"sequences": 2, "objects": 4}
    command = [sys.executable, "-m", "experiments.evaluate", "--metric=jf", "--protocol=sa_v"]
    command += [f"--ground_truth={truth}", f"--predictions={guess}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == found
    one_line(lambda: score_video(str(truth), str(guess)), "sav_1: holds no .png file")


def test_what_is_missing_by_the_protocol_of_sa_v_is_named(of_sa_v):
    truth, guess, _ = of_sa_v
    (guess / "sav_1/001").rename(guess / "sav_1/007")
    one_line(lambda: score_video(str(truth), str(guess), protocol="sa_v"), "sav_1: no folder 001")
    (guess / "sav_1/007").rename(guess / "sav_1/001")
    (guess / "sav_1/001/00002.png").unlink()
    one_line(lambda: score_video(str(truth), str(guess), protocol="sa_v"), "sav_1/001: no 00002.png")
    for folder in ("sav_1/000", "sav_1/001", "sav_2"):
        for path in (truth / folder).iterdir():
            Image.fromarray(np.zeros((24, 40), np.uint8)).save(path)
    (guess / "sav_1/001/00002.png").write_bytes((guess / "sav_1/001/00001.png").read_bytes())
    one_line(lambda: score_video(str(truth), str(guess), protocol="sa_v"), "truth: no frame that is scored shows")
