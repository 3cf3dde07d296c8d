"""`python -m finetune`: nothing lives here but the call."""

from finetune.cli import main

if __name__ == "__main__":
    main()
