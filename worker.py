#!/usr/bin/env python3
"""A worker of Coalition; see --help."""

import sys

from coalition.cli.worker import main

sys.exit(main())
