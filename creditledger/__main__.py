"""``python -m creditledger``: the console script, where none is installed."""

from creditledger.cli.main import main

if __name__ == "__main__":
    main()
