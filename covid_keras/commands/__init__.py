"""The commands of `covid-keras`, one module each."""
