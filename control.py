"""Submit jobs to a Coalition server and look after them: control.py --help."""

from __future__ import annotations

import sys

from coalition.cli.control import main

sys.exit(main())
