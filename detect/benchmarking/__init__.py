"""The parts of `detect benchmark`: its runs, their results, measurements and pictures."""
