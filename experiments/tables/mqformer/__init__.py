"""MQ-Former's tables: query types (2), scaling (B), synthetic data (C, D), query counts (E), size (F), ratios (G)."""
