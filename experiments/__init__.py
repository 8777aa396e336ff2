"""The shell: entry points, the training loop, checkpoints, telemetry, evaluation and benchmarks."""
