"""Whole-process comparison of Obnam with restic and borg. See README.md beside this file."""
