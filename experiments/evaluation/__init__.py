"""Scores of a model or of files, and the reports that show them."""
