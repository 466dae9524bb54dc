"""`python -m dosirak`."""

from dosirak.cli import main

if __name__ == "__main__":
    main()
