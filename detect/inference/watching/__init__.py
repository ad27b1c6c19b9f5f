"""What `detect watch` knows of its folder: what lies there, what has settled, what was tried."""
