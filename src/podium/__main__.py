"""`python -m podium`: the command line, as the `podium` script starts it."""

from podium.cli.main import main

if __name__ == "__main__":
    main()
