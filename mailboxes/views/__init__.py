"""The pages: thin functions that read, ask, save and show."""
