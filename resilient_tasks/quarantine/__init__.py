"""Bad rows in files, and their replay."""
