"""`python -m detect`."""

from detect.cli.main import main

main()
