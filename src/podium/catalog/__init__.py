"""Facts about providers and models, as data: what a kind of provider is, and what a family of models takes and refuses."""
