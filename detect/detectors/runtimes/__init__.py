"""The runtimes of a network: each file writes it for one of them and runs it there."""
