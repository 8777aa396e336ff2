"""Entry points, the training loop, checkpoints, telemetry, evaluation, sweeps, tables and benchmarks."""
