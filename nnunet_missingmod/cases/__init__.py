"""What a case on disk is: its files, whether they are whole, where they lie in space, and what is read of them."""
