"""The paper's experiments as tables (paper 4, Tables 1-5, and further comparisons), from runs that tables share."""
