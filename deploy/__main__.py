"""`python -m deploy` is `turnlog`."""

from deploy.cli import main

main()
