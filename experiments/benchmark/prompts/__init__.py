"""Times and memory of masks from prompts (SAM)."""
