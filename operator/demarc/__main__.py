"""What does `python -m demarc` do? The same as `demarc`."""

from demarc.cli import main

main(prog_name="demarc")
