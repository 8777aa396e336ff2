"""SAM 2's memory: what earlier frames of a video say about an object (SAM 2, section 4)."""
