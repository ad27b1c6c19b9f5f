"""State of `detect watch`: its inbox, its journal and the results written so far."""
