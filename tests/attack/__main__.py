"""`python tests/attack --out FOLDER [NAME ...]`; `--report docs/reliability.md` writes a page."""

import sys

from attacks import main

sys.exit(main())
