#!/usr/bin/env python3
"""The server of Coalition; see --help."""

import sys

from coalition.cli.server import main

sys.exit(main())
