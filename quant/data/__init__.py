"""Images and labels: datasets, formats, and the user's own loaders."""
