"""A web page on this machine to try models on images and videos: `dataseg demo`."""

import argparse
import errno
import os
import socket
import tempfile
import threading

from dataseg_jax.commands import parser as flags
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.packages import require

USAGE = "[--checkpoint=PLACE] [--port=7860] [flags]"
DESCRIPTION = """
Serves a page, on this machine alone: words, phrases, foreground, clicks and
boxes on images, objects along videos. Ctrl-C ends it.
"""
FIRST_PORT, PORTS = 7860, 100  # Gradio's; the first one that is free.


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `dataseg demo`."""
    add = parser.add_argument
    add("--checkpoint", metavar="PLACE", help="of words: family, a run, a packed file, OWNER/NAME")
    add("--tracker", metavar="PLACE", help="of clicks and videos: tracker, a run, a packed file")
    add("--weights", metavar="FILE", help="in its place a SAM or SAM 2: file, folder, hub name")
    add("--text_encoder", metavar="NAME", help="for words that are not bundled")
    add("--in_span", action="store_true", help="project new words onto trained ones")
    add("--host", default="127.0.0.1", metavar="HOST", help="0.0.0.0: others may open it (127.0.0.1)")
    add("--port", type=flags.positive, metavar="N", help="of the page; else the first free from 7860")


def run(options: argparse.Namespace) -> int:
    """`dataseg demo`; returns the exit status. Raises InputError."""
    require_local({f"--{name}": getattr(options, name) for name in ("checkpoint", "tracker", "weights")})
    require("dataseg demo", "demo", "gradio")
    port = find_port(options.host, options.port)  # Before the models, which take longer.
    from dataseg_jax.commands.demo.models import open_models

    models = open_models(
        options.checkpoint, options.tracker, options.weights, options.text_encoder, options.in_span
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="dataseg_demo_") as folder:
        serve(models, options.host, port, folder)
    return 0


def find_port(host: str, port: int | None) -> int:
    """The port that is given, or the first that is free.

    Raises:
      InputError: there is no such host here, or the port is taken.
    """
    for number in [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_STREAM) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind((host, number))
            return number
        except OverflowError:
            raise InputError(f"--port={port}: ports are 1 to 65535") from None
        except socket.gaierror:
            raise InputError(f"--host={host}: no such host; give 127.0.0.1, or 0.0.0.0 for all networks") from None
        except PermissionError as error:
            raise InputError(f"--port={number}: cannot be used ({error.strerror}); give one above 1023") from None
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise InputError(f"--host={host} --port={number}: cannot be used ({error.strerror})") from None
    raise InputError(f"ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are all taken; give --port")


def serve(models, host: str, port: int, folder: str) -> None:
    """Serves the page until Ctrl-C; uploads go into `folder`."""
    # Before Gradio is imported: no statistics, no look at its newest version; nothing of a proxy for this machine.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder, "HF_HUB_DISABLE_TELEMETRY": "1"}
    own = "localhost,127.0.0.1,0.0.0.0,::1"
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), own]))
    from dataseg_jax.commands.demo.page import build, launch

    page = build(models)
    try:
        try:
            launch(page, host, port)
        except OSError:  # Another program was faster.
            raise InputError(f"--host={host} --port={port}: cannot be used (taken meanwhile)") from None
        shown = f"[{host}]" if ":" in host else host
        print(f"the page is at http://{shown}:{port} - Ctrl-C ends it", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("\nthe page is closed", flush=True)
    finally:
        page.close(verbose=False)
