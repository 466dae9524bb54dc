"""`python -m bentoml`."""

from dosirak.compat.bentoml_classic.cli import main

if __name__ == "__main__":
    main()
