"""Answers, how they are drawn and how they are written. No JAX."""
