"""What was recorded elsewhere: arrays of files and episodes, their names, and tasks told apart."""
