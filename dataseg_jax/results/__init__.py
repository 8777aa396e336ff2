"""What an answer is and how it is shown and written. No JAX here."""
