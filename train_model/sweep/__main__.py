"""Runs a notebook over a grid of parameters, here or spread over many machines."""

from data_prep_eda import interruption

if __name__ == "__main__":
    interruption.expect()

from train_model.sweep.command import main

interruption.run(main)
