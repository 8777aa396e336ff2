"""What every test gets: the CPU, compiled programs kept between runs, absl flags in a usable state.

Tests that need several devices start a process of their own: the number of devices is fixed when JAX starts.
"""

import os
import pathlib

from absl import flags

# Before any import of jax; the processes that tests start inherit these.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_cache = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

# Worker processes of grain read absl flags, which only `app.run` parses.
flags.FLAGS.mark_as_parsed()
