"""How a run lives: settings, loop, checkpoints, telemetry, hosts, signals, locks."""
