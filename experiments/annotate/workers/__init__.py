"""Several processes that share the shards, started by the launcher of sweeps: `launch` starts them, `run` is one."""
