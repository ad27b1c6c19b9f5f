"""2D lesion detection on CT: convert, train, evaluate, predict."""
