"""Many hosts as one run: how they find each other, wait for each other, and end together.

Every process runs the same program on its own devices. Without flags, and where the environment names no cluster,
nothing here touches the network and every function is that of a single host.
"""

from experiments.runtime.hosts.joining import environment, start
from experiments.runtime.hosts.meeting import HostFailed, agree, barrier, require_shared, together
from experiments.runtime.hosts.printing import first, only_first_prints, report

__all__ = [
    "HostFailed",
    "agree",
    "barrier",
    "environment",
    "first",
    "only_first_prints",
    "report",
    "require_shared",
    "start",
    "together",
]
