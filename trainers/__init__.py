"""What follows -tr: one file per trainer, file name = class name."""
