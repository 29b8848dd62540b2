"""The help desk of a travel agency: travellers ask, a model answers."""
