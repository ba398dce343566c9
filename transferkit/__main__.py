"""``python -m transferkit``."""

from transferkit.cli import main

if __name__ == "__main__":
    main()
