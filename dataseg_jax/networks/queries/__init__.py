"""Where queries come from, one file a kind; each makes `networks.types.Queries`."""
