"""What the commands show: one file per command, as a screen, JSON or CSV. Only `render` prints."""
