"""Detector families behind one protocol, each imported only when it is used."""
