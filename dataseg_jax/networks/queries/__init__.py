"""Query types, one file per type; each makes `networks.types.Queries`."""
