"""What came out: tables, what they are summed up to, and what follows from them."""
