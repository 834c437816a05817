"""A shared model on disk: its manifest, the zip that it is packed in, the Hugging Face Hub, and the local copy."""
