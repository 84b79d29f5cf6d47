"""What results look like: a module for each kind of figure, on what all of them share."""
