"""The policies: one file each; a folder, if calls share its state."""
