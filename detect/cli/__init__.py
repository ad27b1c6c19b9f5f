"""The verbs of the command line: options in, one call, results printed."""
