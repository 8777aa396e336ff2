"""The mask decoder, and the layers that it may have."""
