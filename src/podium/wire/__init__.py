"""Wire codecs: bytes of a dialect to Podium's values and back, as client and as server. Pure: no I/O, no clock, no chance."""
