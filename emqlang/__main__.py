"""`python -m emqlang`."""

from emqlang.cli import main

main()
