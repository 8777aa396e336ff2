"""Prints the catalogue: `python -m data.catalogue`."""

from data.catalogue import tables

if __name__ == "__main__":
    print(tables())
