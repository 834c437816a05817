"""Lets nnU-Net find the classes of nnunet_missingmod.

nnUNet_extTrainer may name the folder of this file. `nnunet_missingmod attach` copies it into nnU-Net's own folders,
`detach` removes the copies.
"""


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        from nnunet_missingmod.host import CLASS_TABLE
    except Exception:  # uninstalled or broken: nnU-Net goes on as if this file were not here
        raise AttributeError(name) from None
    if name not in CLASS_TABLE:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(CLASS_TABLE[name]), name)
