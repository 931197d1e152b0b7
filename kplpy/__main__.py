"""`python -m kplpy` runs the `kplpy` command, also where the console script is not on the path."""

from kplpy.cli import main

if __name__ == "__main__":
    main()
