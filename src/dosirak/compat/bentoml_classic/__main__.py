"""`python -m dosirak.compat.bentoml_classic`: the classic command line."""

from dosirak.compat.bentoml_classic.cli import main

if __name__ == "__main__":
    main()
