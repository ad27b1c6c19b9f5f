"""From a volume to the pictures that a detector sees, and back to patient space."""
