"""The layouts that videos with masks come in, one file each, and SA-1B, which is trained on beside them."""
