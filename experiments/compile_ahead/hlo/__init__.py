"""Compiled programs as XLA writes them (HLO text): parsed, and the work that their instructions do."""
