"""`python -m covid_keras` is the command `covid-keras`."""

import sys

from covid_keras.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
