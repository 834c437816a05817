"""What follows -pl and -fpe, and the documentation of the plans "missingmod" block."""
