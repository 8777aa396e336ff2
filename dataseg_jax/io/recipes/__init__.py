"""Files that an export puts beside its programs, which run them without this package: they import nothing of it."""
