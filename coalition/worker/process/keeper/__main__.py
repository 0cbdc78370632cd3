"""Started by worker.py: `python -I -S <this file> CONTROL CGROUP ADOPT NODE`.

CONTROL is a descriptor that is connected to worker.py, CGROUP the folder of a control group or
nothing, ADOPT 1 where orphans are to come back to this process; by NODE a later worker.py finds it.
"""

from __future__ import annotations

import sys

# At the end: no name beside this folder hides one of the standard library's. What is imported and
# not run as a script is compiled only once.
sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0])
__import__("keeper.keeping").keeping.main(sys.argv[1:])
