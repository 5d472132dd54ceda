"""The life of a codec: trained again, compared with the one before, put in its place."""
