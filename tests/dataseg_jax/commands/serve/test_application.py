"""Requests without a server: answers are those of the predictor, refusals are one line, limits hold, none is lost."""

import asyncio
import dataclasses
import threading
import time

import jax
import numpy as np
import pytest
from pycocotools import mask as coco

from dataseg_jax.commands.serve.application import Application, Settings
from dataseg_jax.commands.serve.bodies import BodyLimits
from dataseg_jax.commands.serve.engine import Engine, Question
from dataseg_jax.io.images import Limits
from dataseg_jax.results.thresholds import Thresholds
from tests.dataseg_jax.commands.serve.asgi import bomb, form, living, png, request
from tests.dataseg_jax.inference.test_export import predictor  # noqa: F401  a fixture.

PIXELS, BYTES = 300 * 300, 400_000
BODY = BodyLimits(bytes=BYTES, seconds=5.0)
SETTINGS = Settings(max_batch=2, max_wait=0.002, max_open=6, body=BODY)
IMAGES = [np.random.default_rng(n).integers(0, 256, (*size, 3), np.uint8) for n, size in enumerate([(41, 23), (9, 95)])]


def engine_of(predictor, task, words):  # noqa: F811
    vocabulary = predictor.vocabulary(words, task)
    return Engine(predictor, Question(vocabulary, task, Thresholds(0.0, 0.0)), 2, Limits(BYTES, PIXELS))


@pytest.fixture(scope="module")
def engine(predictor):  # noqa: F811
    engine = engine_of(predictor, "panoptic", "car, tree, sky:stuff, road:stuff")
    engine.warm_up()
    return engine


@dataclasses.dataclass
class Blocked:
    """An engine whose answers wait."""

    engine: Engine
    free: threading.Event = dataclasses.field(default_factory=threading.Event)

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def answer(self, batch):
        assert self.free.wait(20)
        return self.engine.answer(batch)


def run(engine, scenario, **changes):
    async def main():
        app = Application(engine, dataclasses.replace(SETTINGS, **changes))
        async with living(app):
            return await asyncio.wait_for(scenario(app), 60)

    return asyncio.run(main())


def ask(engine, *arguments, **options):
    return run(engine, lambda app: request(app, *arguments, **options))


def assert_answers(engine, answer, image):
    """As the predictor's, with masks that pycocotools decodes."""
    asked = engine.question
    expected = engine.predictor.predict([image], asked.vocabulary, asked.task, 0.0, 0.0)[0]
    assert answer.status == 200
    assert (answer.content["height"], answer.content["width"]) == image.shape[:2]
    assert [found["id"] for found in answer.content["segments"]] == [segment.id for segment in expected.segments]
    for found, segment in zip(answer.content["segments"], expected.segments, strict=True):
        mask = expected.mask(segment)
        np.testing.assert_array_equal(coco.decode(found["segmentation"]), mask)
        (y0, *_, y1), (x0, *_, x1) = (np.flatnonzero(mask.any(axis)).repeat(2) for axis in (1, 0))
        assert found["bbox"] == [x0, y0, x1 - x0 + 1, y1 - y0 + 1] and found["area"] == mask.sum()
        assert found["category"] == segment.name and found["isthing"] == segment.is_thing
        assert found["score"] == (segment.score and pytest.approx(segment.score, rel=1e-5))


@pytest.mark.parametrize("image", IMAGES, ids=["tall", "wide"])
def test_answers_are_those_of_the_predictor(engine, image):
    assert_answers(engine, ask(engine, png(image)), image)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["semantic", "instance", "foreground"])
def test_answers_of_other_tasks(predictor, task):  # noqa: F811
    engine = engine_of(predictor, task, None if task == "foreground" else "car, tree, sky:stuff")
    assert_answers(engine, ask(engine, png(IMAGES[0])), IMAGES[0])


def test_a_form_is_answered_as_its_file(engine):
    content = png(IMAGES[0])
    expected = ask(engine, content).content
    for disposition in ('form-data; name="x"; filename="\u00e4;.png"', "form-data; name=image"):
        body, kind = form(content, disposition)
        assert ask(engine, body, kind).content == expected
    assert ask(engine, content, None).content == expected  # Of no stated type.


def test_nothing_compiles_after_the_start(engine):
    compiled = []

    def listen(name, *_, **__):
        compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    rng = np.random.default_rng(0)

    async def scenario(app):
        sizes = rng.integers(2, 280, (12, 2))
        images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
        for first in range(0, 12, 3):
            answers = await asyncio.gather(*(request(app, png(image)) for image in images[first : first + 3]))
            assert [answer.status for answer in answers] == [200] * 3
        return list(app.batcher.batches)

    assert set(run(engine, scenario)) == {1, 2}
    assert [name for name in compiled if "compile" in name] == []
    jax.jit(lambda x: x + len(compiled))(0)
    assert [name for name in compiled if "compile" in name], "the listener hears nothing"
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b"", "image/png", 415, "the 0 bytes are no image of a known kind"),
        (b"%PDF-1.7 hello", "image/png", 415, "no image of a known kind"),
        (png(IMAGES[0])[:900], "image/png", 400, "cannot be decoded"),
        (bomb(60_000, 60_000), "image/png", 413, "is 60000x60000 (width x height); up to 90000 pixels"),
        (bomb(2**31 - 1, 1), "image/png", 413, "is 2147483647x1"),
        (bomb(40, 40), "image/png", 400, "cannot be decoded"),
        (bytes(BYTES + 1), "image/png", 413, "more than 400000 bytes"),
        ([bytes(BYTES // 2)] * 3, "image/png", 413, "more than 400000 bytes"),
        (png(IMAGES[0]), "text/plain", 415, "the Content-Type is text/plain; send an image"),
        (b"{}", "application/x-www-form-urlencoded", 415, "send an image as the body"),
        (form(b"")[0], form(b"")[1], 415, "the 0 bytes are no image"),
        (form(b"", "form-data; name=x")[0], form(b"")[1], 400, 'the form has no file; name it "image"'),
        (form(b"")[0], "multipart/form-data", 400, "states no boundary"),
        (b"\r\n--xYz" * 10_000, form(b"")[1], 400, "headers that can be read"),
        (b"--xYz\r\nX: " + b"a" * 9000 + b"\r\n\r\n", form(b"")[1], 400, "headers that can be read"),
        (b"", "multipart/form-data; boundary=\u00e4", 400, "the form has no file"),
    ],
)  # fmt: skip
def test_bad_bodies_are_refused_in_one_line(engine, body, kind, status, said):
    answer = ask(engine, body, kind, length=not isinstance(body, list))
    assert (answer.status, list(answer.content)) == (status, ["error"]) and said in answer.content["error"]


def test_other_requests_are_refused(engine):
    assert ask(engine, path="/elsewhere").status == 404
    refused = ask(engine, method="GET")
    assert refused.status == 405 and refused.headers["allow"] == "POST"
    for stated, status in (("many", 400), ("-1", 400), ("9" * 5000, 413), ("\u00b2", 400)):
        answer = ask(engine, [b"abc", None], content_length=stated)
        assert answer.status == status and answer.headers["connection"] == "close"


def test_health(engine):
    async def scenario(app):
        await request(app, png(IMAGES[0]))
        return await request(app, path="/healthz", method="GET")

    health = run(engine, scenario).content
    assert (health["status"], health["open"], health["answered"]) == ("ok", 0, 1)
    assert health["words"] == ["car", "tree", "sky", "road"]


def test_a_slow_body_is_given_up(engine):
    began = time.monotonic()
    slow = BodyLimits(BYTES, 0.2)
    answer = run(engine, lambda app: request(app, [b"a"] * 1000, pause=0.05), body=slow)
    assert answer.status == 408 and answer.headers["connection"] == "close" and time.monotonic() - began < 10


def test_a_client_that_goes_away_leaves_nothing_open(engine):
    async def scenario(app):
        assert await request(app, [b"abc", None], length=False) is None
        return await request(app, path="/healthz", method="GET")

    assert run(engine, scenario).content["open"] == 0


def test_too_many_requests_are_sent_away_and_the_others_answered(engine):
    blocked = Blocked(engine)

    async def scenario(app):
        tasks = [asyncio.create_task(request(app, png(IMAGES[0]))) for _ in range(SETTINGS.max_open)]
        while app.batcher.waiting + sum(app.batcher.batches) < SETTINGS.max_open:
            await asyncio.sleep(0.01)
        refused = await request(app, png(IMAGES[0]))
        assert (
            refused.status == 503 and refused.headers["retry-after"] == "1" and "6 requests" in refused.content["error"]
        )
        assert (await request(app, path="/healthz", method="GET")).content["open"] == SETTINGS.max_open
        blocked.free.set()
        return [answer.status for answer in await asyncio.gather(*tasks)]

    assert run(blocked, scenario) == [200] * SETTINGS.max_open


def test_what_is_in_flight_at_the_shutdown_is_answered(engine):
    blocked = Blocked(engine)

    async def main():
        app = Application(blocked, SETTINGS)
        async with living(app):
            tasks = [asyncio.create_task(request(app, png(IMAGES[0]))) for _ in range(5)]
            while app.batcher.waiting + sum(app.batcher.batches) < 5:
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.05, blocked.free.set)
        return [(await task).status for task in tasks]

    assert asyncio.run(asyncio.wait_for(main(), 60)) == [200] * 5


def test_a_failure_of_the_model_is_500_and_the_server_goes_on(engine, capsys):
    class Failing(Blocked):
        def answer(self, batch):
            if not self.free.is_set():
                self.free.set()
                raise RuntimeError("secret")
            return self.engine.answer(batch)

    async def scenario(app):
        return [await request(app, png(IMAGES[0])) for _ in range(2)]

    first, second = run(Failing(engine), scenario)
    assert first.status == 500 and "secret" not in first.content["error"] and second.status == 200
    assert "RuntimeError: secret" in capsys.readouterr().err
