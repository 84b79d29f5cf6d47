"""What is learnt: equations, their labels, and the files that both are kept in."""
