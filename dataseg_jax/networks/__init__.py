"""The network (paper 3.4): encode an image, make queries, decode them, classify them."""
