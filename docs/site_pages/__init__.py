"""What of the site is made from the program itself."""
