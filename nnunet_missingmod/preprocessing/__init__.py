"""From the files of a case to the array that a network sees."""
