"""What training steps are made of: their draws, their buffers, several networks side by side."""
