"""What an alignment is worth: heterogeneity, angular accuracy, correntropy, errors against a truth."""
