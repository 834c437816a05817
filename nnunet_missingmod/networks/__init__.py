"""Networks and network parts; torch only, never nnunetv2."""
