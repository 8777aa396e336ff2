"""Measurements of the parts of the system."""
