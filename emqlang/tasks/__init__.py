"""What the commands do, without printing: one file per command, and what several of them share."""
