"""What follows -tr: one file per method, file name = class name; ablations.py: classes that change one choice."""
