"""Times of scoring and evaluation."""
