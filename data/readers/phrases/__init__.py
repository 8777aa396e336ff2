"""Datasets whose targets are described by phrases: referring sets and Visual Genome."""
