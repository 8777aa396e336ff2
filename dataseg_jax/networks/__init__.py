"""The network: backbone, pixel decoder, mask decoder, text classifier (paper 3.4)."""
