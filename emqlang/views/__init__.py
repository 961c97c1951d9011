"""What commands show: the table VIEWS of `views/X.py` says how results of `tasks/X.py` are shown."""
