"""The policies, one file each. None imports another."""
