"""What networks are made of: attention, dense layers, convolutions, resizing, gathering, what is kept for gradients."""
