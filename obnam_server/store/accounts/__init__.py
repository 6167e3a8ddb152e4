"""What is the whole server's: clients, settings of repositories, its key, its audit log."""
