"""Does a network leak what is absent? Checks of any ``torch.nn.Module``; `audit` runs all of them."""

from nnunet_missingmod.audit.finding import Audit, Finding
from nnunet_missingmod.audit.network import audit
from nnunet_missingmod.audit.probe import Probe

__all__ = ["Audit", "Finding", "Probe", "audit"]
