"""The layouts that can be read, one file each."""
