"""What `detect benchmark` is made of: runs, the process of each, what they gave, pictures."""
