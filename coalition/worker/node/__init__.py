"""What a node decides, without doing any of it."""
