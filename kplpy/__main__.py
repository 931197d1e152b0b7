"""`python -m kplpy`: the `kplpy` command, where the console script is not on the path."""

from kplpy.cli import main

if __name__ == "__main__":
    main()
