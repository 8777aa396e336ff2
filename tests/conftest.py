"""What every test gets: the CPU, programs that compile quickly and are kept between runs, usable absl flags.

Tests that need several devices start a process of their own: the number of devices is fixed when JAX starts.
"""

import os
import pathlib

from absl import flags

# Before any import of jax; the processes that tests start inherit these.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_cache = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("DATASEG_CACHE", str(_cache.with_name("dataseg")))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Half the time to compile, which is most of the time of the tests. A test that needs further flags adds them to these.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

# Worker processes of grain read absl flags, which only `app.run` parses.
flags.FLAGS.mark_as_parsed()
