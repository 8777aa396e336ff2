"""Times of objects followed along videos (SAM 2)."""
