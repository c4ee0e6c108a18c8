"""``python -m node.cli``: the same as ``cfab``."""

import sys

from node.cli import main

sys.exit(main())
