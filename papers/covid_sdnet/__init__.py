"""Tabik et al. 2020, COVID-SDNet on COVIDGR-1.0 (see README.md beside this file)."""
