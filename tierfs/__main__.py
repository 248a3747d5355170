"""``python -m tierfs``."""

import sys

from tierfs.cli.start import main

if __name__ == "__main__":
    sys.exit(main())
