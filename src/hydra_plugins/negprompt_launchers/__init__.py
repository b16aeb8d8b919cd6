"""Launchers of Hydra for sweeps of negprompt. Hydra imports every plugin at each start, so nothing heavy is here."""
