"""Workers leave SIGINT to the process that a user started, which ends them itself."""

import signal


def leave_interrupts_to_the_main_process() -> None:
    """For a worker: Ctrl-C reaches the whole group, and the main process ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
