"""The parts of `data.pipeline.transforms`: where pixels go, and what colours they get."""
