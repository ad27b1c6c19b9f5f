"""One training loop, on pytorch-lightning, for the families that bring none of their own."""
