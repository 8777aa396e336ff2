"""One of two bare processes that meet as tasks of SLURM do; `test_hosts` starts both and reads what they print.

python -m tests.experiments.runtime.two_hosts HOST
"""

import sys

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dataseg_jax.errors import InputError
from experiments.runtime import hosts


def main(host: int, workdir: str) -> None:
    hosts.start(None, None, None, timeout=60)
    print(f"{jax.process_index()} of {jax.process_count()}, {jax.local_device_count()} devices", flush=True)

    mesh = jax.make_mesh((jax.device_count(),), ("data",))
    place = NamedSharding(mesh, P("data"))
    mine = jnp.arange(2.0) + 10 * host
    print("sum", float(jax.jit(jnp.sum)(jax.make_array_from_process_local_data(place, mine))), flush=True)

    hosts.require_shared(workdir)
    with hosts.only_first_prints():
        print("of all")
        hosts.report("of one")
    # What one cannot do, both end with, at the same point; and both can go on from there to save.
    for attempt in (1, 2):
        try:
            with hosts.together("a part"):
                if host == 1:
                    raise InputError(f"no such file {attempt}")
        except hosts.HostFailed as error:
            print("stopped:", error, flush=True)
        except InputError as error:
            print("mine:", error, flush=True)
    print(hosts.agree("a signal", "SIGTERM" if host == 0 else ""), flush=True)
    hosts.barrier("the end of it")
    # At different points nothing can be saved: the other leaves, where it would have waited for ever.
    with hosts.together("the whole"):
        if host == 0:
            raise KeyError("a fault of the program")
        hosts.barrier("a step")
        print("not reached", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
