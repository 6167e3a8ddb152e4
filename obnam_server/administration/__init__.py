"""What an administrator can have done, whether the server runs or not."""
