"""Hertel & Benlamri 2022: lungs by a ResUNet, three networks fine-tuned stage by stage, two ensembles of them."""
