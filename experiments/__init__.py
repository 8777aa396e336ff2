"""The shell: entry points, the training loop, checkpoints, telemetry, sweeps and benchmarks."""
