"""One file a verb: what `detect VERB` and `detect.VERB()` do."""
