"""Load one pickled plan in this process, which a fault point may kill: `load_once.py FILE`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from ownlens_plugins.engine.loading import load
from ownlens_postgresql.destination import PostgreSQLDestination

if __name__ == "__main__":
    config, plan = pickle.loads(Path(sys.argv[1]).read_bytes())
    print(load(PostgreSQLDestination(config), plan))
