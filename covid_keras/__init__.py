"""Reference reproduction suite for four papers on COVID-19 in chest radiographs.

Research software: not a medical device, not for diagnosis.
"""

__version__ = "0.2.0"

DISCLAIMER = "For research only. Not a medical device: nothing here may be used to diagnose, treat or triage a patient."
