"""`python -m kplpy.cli`, where the console script is not on the path."""

from kplpy.cli import main

main()
