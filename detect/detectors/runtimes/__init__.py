"""What can run a network; each file writes the network for one runtime and runs it there."""
