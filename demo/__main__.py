"""`python -m demo`, which `trueup demo` runs."""

from demo.cli import main

if __name__ == "__main__":
    main()
