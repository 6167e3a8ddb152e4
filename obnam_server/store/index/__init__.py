"""The index of one repository in one SQLite file: the seam `seams.index`, made real."""
