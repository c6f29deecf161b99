"""Real images on their way in: files, decoded once, to 8-bit arrays that are read by index; one stored image as PNG."""
