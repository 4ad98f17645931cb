"""The quickstart is a tool: its package lies in tools/, where ``tools/quickstart.py`` finds it."""

import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
if str(TOOLS) not in sys.path:
    sys.path.append(str(TOOLS))
