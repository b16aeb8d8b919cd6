"""`python -m negprompt` is the console script."""

from negprompt.cli.main import main

if __name__ == "__main__":
    main()
