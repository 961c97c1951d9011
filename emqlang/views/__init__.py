"""What commands show: VIEWS in `views/X.py` says how the results of `tasks/X.py` are shown."""
