"""What an evaluation shows beside its scores: what colours alone, nearest words and coarse masks would give."""
