"""The calibration of a bundle on labeled recordings; `calibrate` does it all."""
