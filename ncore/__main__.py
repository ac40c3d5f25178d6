"""`python -m ncore`: the command `ncore`."""

import sys

from ncore.cli.parser import main

sys.exit(main())
