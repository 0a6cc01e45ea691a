"""Tests of the suite; a package, so that `tests.helpers` is found and not the `tests` that tf-keras-vis installs."""
