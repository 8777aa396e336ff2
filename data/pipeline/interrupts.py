"""Which processes heed SIGINT: the one that a user started, and not its workers, which it ends itself."""

import signal

from dataseg_jax.commands.interrupts import heed_interrupts

__all__ = ["heed_interrupts", "leave_interrupts_to_the_main_process"]


def leave_interrupts_to_the_main_process() -> None:
    """For a worker: Ctrl-C reaches the whole group, and the main process ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
