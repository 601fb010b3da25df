"""python -m static_call: the command line."""

import sys

from static_call.cli.main import main

sys.exit(main())
