"""What a train step costs."""
