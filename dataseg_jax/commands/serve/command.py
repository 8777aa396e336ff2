"""Serves a model over HTTP: `dataseg serve`."""

import argparse
import os
import signal
import socket

from dataseg_jax.commands import parser as flags
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.packages import require

USAGE = '--checkpoint=family --words="cat, dog, sky:stuff" [flags]'
DESCRIPTION = """
POST /predict takes an image and answers with JSON; docs/pages/predict.md.
"""
STOPPING = 60  # ours: seconds after which a client that does not read its answer holds up the end no longer.
TASKS = ("panoptic", "semantic", "instance", "detection", "foreground")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `dataseg serve`."""
    add = parser.add_argument
    add("--checkpoint", default="family", metavar="PLACE", help="family, shapes, a run, a packed file or OWNER/NAME")
    add("--words", help='"cat, dog, sky:stuff", a bundled name or a names file')
    add("--task", choices=TASKS, default="panoptic", metavar="TASK", help="panoptic, semantic, instance, ...")
    add("--text_encoder", metavar="NAME", help="for words that are not bundled")
    add("--dataset", metavar="NAME", help="of a run with modules for each dataset")
    add("--score_threshold", type=flags.fraction, metavar="P", help="what is kept scores above it")
    add("--overlap_threshold", type=flags.fraction, metavar="P", help="share of its mask that a segment keeps")
    add("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    add("--port", type=flags.whole, default=8000, metavar="N", help="0: any that is free (8000)")
    add("--max_batch", type=flags.positive, default=8, metavar="N", help="images of a batch (8)")
    add("--max_wait_ms", type=flags.whole, default=5, metavar="N", help="that the first of a batch waits (5)")
    add("--max_open", type=flags.positive, default=64, metavar="N", help="requests at once, else 503 (64)")
    add("--max_bytes", type=flags.positive, default=2**24, metavar="N", help="of a body, else 413 (16 MiB)")
    add("--max_pixels", type=flags.positive, default=2**24, metavar="N", help="of an image, else 413 (2^24)")
    add("--body_seconds", type=flags.positive, default=10, metavar="N", help="until a body is there, else 408")


def run(options: argparse.Namespace) -> int:
    """`dataseg serve`; returns the exit status when it is told to stop. Raises InputError."""
    require_local({"--checkpoint": options.checkpoint})
    if options.max_open < options.max_batch:
        raise InputError(f"--max_open={options.max_open}: it must be at least --max_batch, {options.max_batch}")
    if options.port > 65535:  # It would be taken modulo 65536.
        raise InputError(f"--port={options.port}: it must be within 0 and 65535")
    listening = _socket(options.host, options.port)
    with listening:
        require("dataseg serve", "serve", "uvicorn")
        os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # Else damaged images of strangers fill the log.
        engine = _engine(options)
        engine.warm_up()
        return _serve(engine, options, listening)


def _socket(host: str, port: int) -> socket.socket:
    """Bound before a model is loaded, since what is wrong with it is known at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--host={host} --port={port}: cannot be listened at ({reason})") from None
    return made


def _engine(options: argparse.Namespace):
    from dataseg_jax.commands.serve.engine import Engine, Question
    from dataseg_jax.inference.predictor import Predictor
    from dataseg_jax.io.images import Limits

    predictor = Predictor.from_pretrained(options.checkpoint, options.text_encoder)
    vocabulary = predictor.vocabulary(options.words, options.task)
    thresholds = predictor.thresholds(options.task, options.score_threshold, options.overlap_threshold)
    question = Question(vocabulary, options.task, thresholds, options.dataset)
    return Engine(predictor, question, options.max_batch, Limits(options.max_bytes, options.max_pixels))


def _serve(engine, options: argparse.Namespace, listening: socket.socket) -> int:
    import uvicorn

    from dataseg_jax.commands.serve.application import Application, Settings
    from dataseg_jax.commands.serve.bodies import BodyLimits

    settings = Settings(
        max_batch=options.max_batch, max_wait=options.max_wait_ms / 1000, max_open=options.max_open,
        body=BodyLimits(options.max_bytes, options.body_seconds),
    )  # fmt: skip
    config = uvicorn.Config(
        Application(engine, settings), http="h11", loop="asyncio", ws="none", lifespan="on", log_level="warning",
        access_log=False, server_header=False, timeout_graceful_shutdown=STOPPING,
    )  # fmt: skip

    class Server(uvicorn.Server):
        async def startup(self, sockets=None) -> None:
            await super().startup(sockets=sockets)
            host, port, *_ = listening.getsockname()
            print(f"serving {options.checkpoint} at http://{host}:{port}; POST /predict, GET /healthz", flush=True)

    # Once it has answered all, uvicorn sends itself the signal that it was stopped with; that is a good end here.
    signal.signal(signal.SIGTERM, lambda *_: None)
    Server(config).run(sockets=[listening])
    return 0
