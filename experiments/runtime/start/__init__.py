"""What a run starts from: its datasets, the size of its batch, a fresh state, and the weights of others."""
