"""`dataseg demo` before the page is there: what is missing or taken is one line."""

import importlib.util
import socket

from dataseg_jax.commands.demo.command import find_port
from dataseg_jax.commands.main import main
from tests.messages import one_line


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "gradio" else found(name, *rest)
    )
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "error: dataseg demo needs gradio: pip install 'dataseg_jax[demo]'\n"


def test_addresses_that_cannot_be_used_are_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        one_line(lambda: find_port("127.0.0.1", port), f"--host=127.0.0.1 --port={port}: cannot be used")
    assert find_port("127.0.0.1", port) == port
    one_line(lambda: find_port("127.0.0.1", 70000), "--port=70000: ports are 1 to 65535")
    one_line(lambda: find_port("192.0.2.1", None), "--host=192.0.2.1 --port=7860: cannot be used")  # Of no machine.
    one_line(lambda: find_port("no.such.host.invalid", None), "--host=no.such.host.invalid: no such host")
