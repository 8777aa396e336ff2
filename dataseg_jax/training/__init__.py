"""The train step, the optimiser, and how arrays are split over devices."""
