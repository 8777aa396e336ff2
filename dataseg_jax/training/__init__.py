"""The train step, the optimiser, and where arrays live on many devices."""
