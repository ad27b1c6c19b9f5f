"""`python -m detect`."""

from detect.cli import main

main()
