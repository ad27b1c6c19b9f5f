"""One training loop, on pytorch-lightning, for the families that bring no good one of their own."""
