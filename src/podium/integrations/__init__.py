"""Other people's interfaces: each module here needs the package that it is named after, and nothing imports it by itself."""
