"""Times and memory of a train step."""
