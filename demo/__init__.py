"""`make demo`: the installed commands, used as a user would. The standard library only."""
