"""SIGINT for a program that a user started; `data.pipeline.interrupts` has what its workers do."""

import signal


def heed_interrupts() -> None:
    """SIGINT interrupts this program, whatever it was started by; the first thing that a command line does.

    A script's `program &` has SIGINT ignored, and a program that starts another may have blocked it. Both are handed on
    and kept by Python, so that `kill -INT` would do nothing. SIGHUP stays ignored where `nohup` had it so.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
