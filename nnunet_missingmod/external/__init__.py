"""The folder for nnUNet_extTrainer: nnU-Net imports every module of it but this one. See ``host``."""
