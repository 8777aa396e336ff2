"""Reads predictions and ground truth of any model and scores them, for experiments.evaluate; no JAX here."""
