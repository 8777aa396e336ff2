"""What reading and augmenting costs."""
