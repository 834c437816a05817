"""Loss functions; torch only, never nnunetv2."""
