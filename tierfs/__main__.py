"""``python -m tierfs``."""

import sys

from tierfs.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
